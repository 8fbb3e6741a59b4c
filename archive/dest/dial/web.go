package dial

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"owl/archive/member"
)

const (
	maxAnswer  = 64 << 10 // octets of an answer that are looked at
	toldAnswer = 500      // and that an error tells of
	maxHeader  = 64 << 10 // octets of an answer's headers
	idle       = time.Hour
)

// ReadURL reads a member that is the URL of a web server. It may be a secret, and
// so no error tells of it.
func ReadURL(o *member.Object, name string) string {
	s := o.Text(name)
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		o.Fail(name, "want a URL that begins with http:// or https://")
	}
	return s
}

// Web returns a client of web servers as pScheduler's archivers have it: its
// connections come from the local address bind if there is one, no redirection is
// followed, and what certificate a server has is looked at only if verify. An
// exchange may take as long as timeout. Connections are kept for an hour.
func Web(bind string, timeout time.Duration, verify bool) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
				host, port, err := net.SplitHostPort(addr)
				if err != nil {
					return nil, err
				}
				n, err := strconv.ParseUint(port, 10, 16)
				if err != nil {
					return nil, fmt.Errorf("port %s: want one from 0 to 65535", port)
				}
				if bind == "" {
					return (&net.Dialer{Timeout: timeout}).DialContext(ctx, "tcp", addr) // which hurries between IPv6 and IPv4
				}
				e := Endpoint{Host: host, Port: uint16(n), Bind: bind, Timeout: timeout}
				return e.Connect(ctx, "tcp")
			},
			// The archivers that this is for do not verify unless they are told to.
			TLSClientConfig:        &tls.Config{InsecureSkipVerify: !verify},
			TLSHandshakeTimeout:    timeout,
			ForceAttemptHTTP2:      true,
			MaxIdleConnsPerHost:    8,
			IdleConnTimeout:        idle,
			MaxResponseHeaderBytes: maxHeader,
		},
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// Answer reads the body of an answer, the first 64 KiB of it, and closes it.
func Answer(resp *http.Response) []byte {
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // what there is of it
	return b
}

// Short returns the beginning of an answer in one line, as errors tell of it.
func Short(answer []byte) string {
	s := strings.ToValidUTF8(string(answer[:min(len(answer), toldAnswer)]), "")
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }), " ")
	if len(answer) > toldAnswer {
		s += " …"
	}
	return s
}

// WithoutURL returns err without the URL that clients put before it, which may
// be a secret.
func WithoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}
