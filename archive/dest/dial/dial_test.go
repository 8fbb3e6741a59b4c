package dial

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"owl/archive/member"
)

// TestReadURL: what is the URL of a web server, and that no error tells of it.
func TestReadURL(t *testing.T) {
	for _, c := range []struct {
		url string
		ok  bool
	}{
		{"http://h", true}, {"https://u:p@h:8443/a?b=c", true}, {"http://[2001:db8::1]:80/", true},
		{"gopher://h/", false}, {"h/x", false}, {"http:///x", false}, {"http://:80/", false}, {"http://h:sesame/", false}, {"", false},
	} {
		o, err := member.Of("", map[string]any{"_url": c.url})
		if err != nil {
			t.Fatal(err)
		}
		got := ReadURL(o, "_url")
		if err := o.Err(); (err == nil) != c.ok || got != c.url || err != nil && strings.Contains(err.Error(), "sesame") {
			t.Errorf("%q: %v", c.url, err)
		}
	}
}

// TestShort: an answer becomes one line of bounded length.
func TestShort(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "",
		"\n a\tb\r\nc\x1b[31m ":   "a b c [31m",
		"caf\xc3\xa9 \xff\xfe !":  "café !",
		strings.Repeat("x", 500):  strings.Repeat("x", 500),
		strings.Repeat("é", 1000): strings.Repeat("é", 250) + " …",
	} {
		if got := Short([]byte(text)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestWithoutURL(t *testing.T) {
	cause := errors.New("refused")
	if err := WithoutURL(&url.Error{Op: "Post", URL: "http://sesame/", Err: cause}); !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	if err := WithoutURL(cause); !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
}

// TestTogether: an error that each of a host's addresses has is told once, in one
// line, and can be found.
func TestTogether(t *testing.T) {
	refused := fmt.Errorf("dial: %w", syscall.ECONNREFUSED)
	for _, c := range []struct {
		errs []error
		want string
	}{
		{[]error{refused}, "dial: connection refused"},
		{[]error{refused, refused}, "dial: connection refused"},
		{[]error{errors.New("no route"), refused, refused}, "no route; dial: connection refused"},
	} {
		if err := together(c.errs); err.Error() != c.want || !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%v became %q", c.errs, err)
		}
	}
}

// A URL that is taken has a server, and one that is not is not told of.
func FuzzReadURL(f *testing.F) {
	for _, s := range []string{"", "http://h", "https://u:sesame@[::1]:8443/a?b#c", "ftp://h", "http://", "http://:80", "http:h", "//h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		text, err := json.Marshal(map[string]string{"_url": s})
		if err != nil {
			t.Fatal(err)
		}
		o, err := member.Parse("/data", text)
		if err != nil {
			return
		}
		got := ReadURL(o, "_url")
		if err := o.Err(); err != nil {
			if len(s) > 40 && strings.Contains(err.Error(), s) {
				t.Errorf("%v tells of %q", err, s)
			}
			return
		}
		if req, err := http.NewRequest(http.MethodPost, got, nil); err != nil || req.URL.Hostname() == "" || req.URL.Scheme != "http" && req.URL.Scheme != "https" {
			t.Errorf("%q: %v", got, err)
		}
	})
}
