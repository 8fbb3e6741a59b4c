package ui

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func TestPage(t *testing.T) {
	t.Parallel()
	page := New(nil, Options{})
	get := func(path string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRecorder()
		q := httptest.NewRequest(http.MethodGet, path, nil)
		if len(header) > 0 {
			q.Header.Set(header[0], header[1])
		}
		page.ServeHTTP(r, q)
		return r
	}
	for path, want := range map[string]struct{ kind, text string }{
		"/":                               {"text/html", `<script type="module" src="static/main.js">`},
		"/?source=192.0.2.1":              {"text/html", `<script type="module" src="static/main.js">`},
		"/static/page.css":                {"text/css", ":root"},
		"/static/main.js":                 {"text/javascript", "import"},
		"/static/owl.svg":                 {"image/svg+xml", "<svg"},
		"/static/uplot/uPlot.iife.min.js": {"text/javascript", "uPlot (v1.6.32)"},
		"/static/uplot/uPlot.min.css":     {"text/css", ".uplot"},
		"/static/uplot/LICENSE":           {"text/plain", "MIT"},
	} {
		r := get(path)
		if r.Code != 200 || !strings.HasPrefix(r.Header().Get("Content-Type"), want.kind) || !strings.Contains(r.Body.String(), want.text) {
			t.Errorf("%s: %d %s, want %s with %s", path, r.Code, r.Header().Get("Content-Type"), want.kind, want.text)
		}
		if csp := r.Header().Get("Content-Security-Policy"); csp != policy || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", path, csp)
		}
		if again := get(path, "If-None-Match", r.Header().Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
			t.Errorf("%s: %d when it has not changed, want 304", path, again.Code)
		}
	}
}

// TestOwn says that the page loads nothing from elsewhere and has no script or
// style in its markup, so that it works offline and under its policy.
func TestOwn(t *testing.T) {
	t.Parallel()
	elsewhere := regexp.MustCompile(`(?i)(https?:)?//[a-z0-9-]+\.[a-z]`)
	inline := regexp.MustCompile(`(?i)<script>|<script [^>]*>[^<]|<style|\sstyle=|\son[a-z]+=|javascript:|\beval\(|innerHTML|insertAdjacentHTML|document\.write`)
	for path, a := range assets() {
		if strings.HasPrefix(path, "/static/uplot/") {
			continue // names its home in a comment, and no other place
		}
		text := strings.ReplaceAll(string(a.body), "http://www.w3.org/2000/svg", "")
		if m := elsewhere.FindString(text); m != "" {
			t.Errorf("%s: %q leads elsewhere", path, m)
		}
		if m := inline.FindString(text); m != "" {
			t.Errorf("%s: %q is no safe way", path, m)
		}
	}
}
