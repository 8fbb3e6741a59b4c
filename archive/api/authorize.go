package api

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// A writer is who a request comes from.
type writer struct {
	may   bool // write
	guide bool // is of the generation that the REST guide is for
}

// longestSecret is more octets than any key has.
const longestSecret = 256

// authorize finds out who a request comes from. A key that is not known is
// refused to who only reads, too: it is a mistake that had better show before the
// first write. Other schemes are not ours, but some proxy's.
func (h *handler) authorize(r *http.Request) (writer, error) {
	scheme, secret, _ := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " ")
	who := writer{guide: strings.EqualFold(scheme, "ApiKey")}
	if !who.guide && !strings.EqualFold(scheme, "Token") {
		// A browser in such a network asks for pages of anybody; it says so by Origin
		// with all that writes.
		who.may = r.Header.Get("Origin") == "" && h.allows(r.RemoteAddr)
		return who, nil
	}
	secret = strings.TrimSpace(secret)
	wrong := "Invalid token."
	if who.guide {
		secret = secret[strings.LastIndexByte(secret, ':')+1:]
		wrong = "Invalid API key."
	}
	if secret == "" || len(secret) > longestSecret {
		return who, who.unauthorized(wrong)
	}
	_, ok, err := h.store.Authenticate(r.Context(), secret)
	if err != nil {
		return who, err
	}
	if !ok {
		return who, who.unauthorized(wrong)
	}
	who.may = true
	return who, nil
}

// unauthorized refuses somebody, and says by which scheme he would be known.
func (w writer) unauthorized(detail string) error {
	scheme := "Token"
	if w.guide {
		scheme = "ApiKey"
	}
	return &refusal{status: http.StatusUnauthorized, detail: detail, scheme: scheme}
}

// allows reports whether a client, whose address it is, may write without a key.
func (h *handler) allows(remote string) bool {
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false // such as a Unix socket's, which is of no network
	}
	from := at.Addr().Unmap().WithZone("")
	return slices.ContainsFunc(h.AllowWrite, func(n netip.Prefix) bool { return n.Contains(from) })
}
