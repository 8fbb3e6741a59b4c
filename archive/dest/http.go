package dest

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"owl/archive"
	"owl/archive/member"
	"owl/archive/retry"
)

// Bounds of an HTTP exchange.
const (
	httpTimeout = 30 * time.Second
	maxAnswer   = 64 << 10 // octets of an answer that are looked at
	toldAnswer  = 500      // and that are told of
)

// An httpDestination posts or puts results to a server. The request has the ID of
// the result as Idempotency-Key.
type httpDestination struct {
	client *http.Client
	op     string // POST or PUT
	url    string
	header http.Header
	// text says that a result which is a string is sent as it is, as text.
	text bool
	// length says whether the length is sent; else the body is in chunks.
	length bool
}

func openHTTP(o *member.Object, _ *archive.Spec) (archive.Opened, error) {
	schema := schemaOf(o, 4)
	o.Need("_url")
	d := &httpDestination{url: webURL(o, "_url"), op: strings.ToUpper(o.Option("op", "post", "put")), header: make(http.Header), length: true}
	d.headers(o, schema)
	bind := bindAddress(o, "bind")
	timeout := httpTimeout
	if since(o, schema, 4, "timeout") {
		if timeout = o.Duration("timeout", httpTimeout); timeout < time.Millisecond {
			o.Fail("timeout", "want more than nothing")
		}
	}
	verify := since(o, schema, 3, "verify-ssl") && o.Bool("verify-ssl", false)
	d.client = webClient(bind, timeout, verify)
	return archive.Opened{Destination: d, Retry: retry.Read(o, false), Parallel: 4}, nil
}

// webURL reads a member that is the URL of a web server.
func webURL(o *member.Object, name string) string {
	s := o.Text(name)
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		o.Fail(name, "want a URL that begins with http:// or https://")
	}
	return s
}

// bindAddress reads a member that is a local address, or the name of one.
func bindAddress(o *member.Object, name string) string { return o.String(name) }

// headers reads what headers a request has: _headers, whose values are strings,
// and headers, whose values may be numbers, or null for one that is not to be
// sent.
func (d *httpDestination) headers(o *member.Object, schema int64) {
	if since(o, schema, 2, "_headers") {
		if h := o.Object("_headers"); h != nil {
			for _, name := range h.Names() {
				if v := h.String(name); checkHeader(h, name, v) && v != "" {
					d.header[http.CanonicalHeaderKey(name)] = []string{v}
				}
			}
		}
	}
	if !since(o, schema, 2, "headers") {
		return
	}
	d.text = true
	h := o.Object("headers")
	if h == nil {
		return
	}
	for _, name := range h.Names() {
		key := http.CanonicalHeaderKey(name)
		switch v := h.Any(name).(type) {
		case nil:
			if key == "Content-Length" {
				d.length = false
			} else {
				d.header[key] = nil // net/http then sends none of its own
			}
		case string:
			if checkHeader(h, name, v) && key != "Content-Length" {
				d.header[key] = []string{v}
			}
		case json.Number:
			if key != "Content-Length" {
				d.header[key] = []string{v.String()}
			}
		default:
			h.Fail(name, "want a string, a number or null")
		}
	}
}

// checkHeader reports whether a header can be sent.
func checkHeader(h *member.Object, name, value string) bool {
	ok := name != "" && !strings.ContainsAny(name, " \t\r\n:") && !strings.ContainsAny(value, "\r\n\x00")
	if !ok {
		h.Fail(name, "want the name of a header, and one line of text")
	}
	return ok
}

// webClient returns a client that keeps its connections.
func webClient(bind string, timeout time.Duration, verify bool) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	t.MaxIdleConnsPerHost = 8
	t.IdleConnTimeout = time.Hour
	t.ResponseHeaderTimeout = timeout
	// The archivers that these are for do not verify unless they are told to.
	t.TLSClientConfig = &tls.Config{InsecureSkipVerify: !verify}
	t.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return dial(ctx, network, bind, addr, timeout)
	}
	return &http.Client{
		Transport:     t,
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// dial connects to addr from the local address bind, which may be empty.
func dial(ctx context.Context, network, bind, addr string, timeout time.Duration) (net.Conn, error) {
	d := &net.Dialer{Timeout: timeout}
	if bind == "" {
		return d.DialContext(ctx, network, addr)
	}
	local, err := resolveBind(ctx, bind)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(network, "udp") {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	} else {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(local, 0))
	}
	return d.DialContext(ctx, network, addr)
}

// resolveBind returns a local address by its name.
func resolveBind(ctx context.Context, bind string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(bind); err == nil {
		return a, nil
	}
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", bind)
	if err != nil || len(all) == 0 {
		return netip.Addr{}, archive.Final(fmt.Errorf("unable to resolve bind %s: %w", bind, err))
	}
	return all[0].Unmap(), nil
}

func (d *httpDestination) Deliver(ctx context.Context, item *archive.Item) error {
	body, kind := item.Payload, "application/json"
	if d.text {
		var s string
		if json.Unmarshal(body, &s) == nil && len(body) > 0 && body[0] == '"' && d.header["Content-Type"] == nil {
			body, kind = []byte(s), "text/plain"
		}
	}
	var r io.Reader = bytes.NewReader(body)
	if !d.length {
		r = struct{ io.Reader }{r} // whose length nobody can see
	}
	req, err := http.NewRequestWithContext(ctx, d.op, d.url, r)
	if err != nil {
		return archive.Final(noURL(err))
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Idempotency-Key", item.ID)
	for name, values := range d.header {
		req.Header[name] = values
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	op := strings.ToLower(d.op)
	resp, err := d.client.Do(req)
	if err != nil {
		return fmt.Errorf("failed to %s result: %w", op, noURL(err))
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // what there is of it
	if resp.StatusCode/100 == 2 {
		return nil
	}
	return fmt.Errorf("failed to %s result: %d: %s", op, resp.StatusCode, short(answer))
}

// noURL returns err without the URL in it, which may be a secret.
func noURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// short returns the beginning of an answer, in one line.
func short(answer []byte) string {
	s := strings.Join(strings.Fields(strings.ToValidUTF8(string(answer[:min(len(answer), toldAnswer)]), "")), " ")
	if len(answer) > toldAnswer {
		s += " …"
	}
	return s
}

func (d *httpDestination) Close() error {
	d.client.CloseIdleConnections()
	return nil
}
