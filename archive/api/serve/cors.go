package serve

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
)

// CheckOrigin refuses what cannot be the origin of a page, such as
// https://dashboard.example.net; * stands for all of them.
func CheckOrigin(s string) error {
	u, err := url.Parse(s)
	switch {
	case s == "*":
		return nil
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.Scheme+"://"+u.Host != s:
		return fmt.Errorf("origin %q: want * or one such as https://dashboard.example.net", s)
	}
	return nil
}

// share lets pages of the origins use h from a browser. They have no cookies here
// that it would send along, and that it is in a network which may write helps none
// of them: what writes needs a key.
func share(origins []string, h http.Handler) http.Handler {
	if len(origins) == 0 {
		return h
	}
	all := slices.Contains(origins, "*")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		origin := r.Header.Get("Origin")
		switch {
		case all:
			header.Set("Access-Control-Allow-Origin", "*")
		default:
			header.Add("Vary", "Origin")
			if !slices.Contains(origins, origin) {
				h.ServeHTTP(w, r)
				return
			}
			header.Set("Access-Control-Allow-Origin", origin)
		}
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			header.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, OPTIONS")
			header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
			header.Set("Access-Control-Max-Age", "3600")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		header.Set("Access-Control-Expose-Headers", "Link, Location, X-Request-Id")
		h.ServeHTTP(w, r)
	})
}
