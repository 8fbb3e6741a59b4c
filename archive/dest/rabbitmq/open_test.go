package rabbitmq

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/archive"
	"owl/archive/dest/internal/certs"
	"owl/archive/dest/internal/desttest"
	"owl/archive/retry"
)

func open(data string) (archive.Opened, error) { return desttest.Open(Open, data) }

func TestOpen(t *testing.T) {
	for data, want := range map[string]string{
		// What pScheduler says to these, it says, too.
		`{"_url": "amqp://x/"}`:                                                "",
		`{"_url": "amqp://x/", "routing-key": {"script": "."}}`:                `/data/routing-key: want "schema": 2`,
		`{"schema": 2, "_url": "amqp://x/", "routing-key": {"script": ".id"}}`: "",
		`{"schema": 2, "_url": "amqp://x/", "timeout": "PT1S"}`:                `/data/timeout: want "schema": 3`,
		`{"_url": "amqp://x/", "connection-expires": "PT1S"}`:                  `/data/connection-expires: want "schema": 2`,
		`{"schema": 2, "_url": "amqp://x/", "connection-expires": "P0D"}`:      "",
		`{"schema": 2, "_url": "amqp://x/", "routing-key": {"script": "(("}}`:  "/data/routing-key/script: no jq",
		`{"schema": 2, "_url": "amqp://x/", "routing-key": {"scrip": "."}}`:    "/data/routing-key/scrip: is unknown",
		`{"schema": 2, "_url": "amqp://x/", "routing-key": 5}`:                 "/data/routing-key: 5: want a string",
		`{"exchange": "x"}`: "/data/_url: is missing",
		`{"_url": "amqp://x/", "retry-policy": [{"attempts": 5, "wait": "5"}]}`: "/data/retry-policy/0/wait",
		`{"_url": "amqp://x/", "more": 1}`:                                      "/data/more: is unknown",
		// The reference's example.
		`{"_url": "amqp://rabbithole.example.org/", "routing-key": "bugs", "retry-policy": [{ "attempts": 5,  "wait": "PT1S" }, { "attempts": 5,  "wait": "PT3S" }]}`: "",
		// What it could not do anything with it finds out when there is a result.
		`{"_url": "http://x/"}`: "/data/_url: want a URL amqp://",
		// It has a schema 3 that cannot be used.
		`{"schema": 3, "_url": "amqp://x/", "timeout": "PT1S"}`: "",
		`{"schema": 3, "_url": "amqp://x/", "timeout": "PT0S"}`: "/data/timeout: want more than nothing",
		`{"schema": 4, "_url": "amqp://x/"}`:                    "/data/schema: 4: want",
		// Our own.
		`{"_url": "amqp://x/", "persistent": false}`:                                     "",
		`{"_url": "amqp://x/", "persistent": "no"}`:                                      `/data/persistent: "no": want true or false`,
		`{"_url": "amqps://x/?cacertfile=/no/such/file"}`:                                "/data/_url: open /no/such/file",
		`{"_url": "amqp://x/", "exchange": "` + strings.Repeat("x", maxName+1) + `"}`:    "/data/exchange: want at most 255",
		`{"_url": "amqp://x/", "routing-key": "` + strings.Repeat("x", maxName+1) + `"}`: "/data/routing-key: want at most 255",
	} {
		d, err := open(data)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", data, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", data, err, want)
		case err == nil:
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestDefaults(t *testing.T) {
	opened, err := open(`{"_url": "amqp://x/", "retry-policy": [{"attempts": 5, "wait": "PT1S"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	d := opened.Destination.(*destination)
	if d.pool.Life != time.Hour || d.timeout != 10*time.Second || !d.persistent || d.key != "" || d.exchange != "" {
		t.Errorf("life %v, timeout %v, persistent %v, %q %q", d.pool.Life, d.timeout, d.persistent, d.key, d.exchange)
	}
	if diff := cmp.Diff(retry.Policy{{Attempts: 5, Wait: time.Second}}, opened.Retry); diff != "" {
		t.Error(diff)
	}
}

func TestURL(t *testing.T) {
	plain := []string{"PLAIN", "AMQPLAIN"}
	for text, want := range map[string]*address{
		"amqp://h":                     {host: "h", port: "5672", name: "guest", password: "guest", vhost: "/", logins: plain, server: "h"},
		"amqp://h/":                    {host: "h", port: "5672", name: "guest", password: "guest", vhost: "/", logins: plain, server: "h"},
		"amqp://h//":                   {host: "h", port: "5672", name: "guest", password: "guest", vhost: "/", logins: plain, server: "h"},
		"amqp://h/%2F":                 {host: "h", port: "5672", name: "guest", password: "guest", vhost: "/", logins: plain, server: "h"},
		"amqp://h/a%2fb":               {host: "h", port: "5672", name: "guest", password: "guest", vhost: "a/b", logins: plain, server: "h"},
		"amqp://me@[::1]:5/v":          {host: "::1", port: "5", name: "me", password: "guest", vhost: "v", logins: plain, server: "::1"},
		"amqp://a%40b:p%3Aq%2F@h":      {host: "h", port: "5672", name: "a@b", password: "p:q/", vhost: "/", logins: plain, server: "h"},
		"amqps://me:@h":                {host: "h", port: "5671", secure: true, name: "me", vhost: "/", logins: plain, server: "h"},
		"amqps://h?verify=verify_none": {host: "h", port: "5671", secure: true, name: "guest", password: "guest", vhost: "/", logins: plain, server: "h", certs: certs.Files{AnyCert: true}},
		"amqps://h/v?cacertfile=/a&certfile=/b&keyfile=/c&server_name_indication=n&auth_mechanism=external": {
			host: "h", port: "5671", secure: true, name: "guest", password: "guest", vhost: "v", logins: []string{"EXTERNAL"}, server: "n",
			certs: certs.Files{CA: "/a", Cert: "/b", Key: "/c"},
		},
	} {
		got, err := parseURL(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(address{})); diff != "" {
			t.Errorf("%s:\n%s", text, diff)
		}
	}
	for text, want := range map[string]string{
		"":                             "want a URL",
		"h":                            "want a URL",
		"amqp:h":                       "want a URL",
		"amqp:///v":                    "want a URL",
		"amqp://h:port":                "want a URL",
		"amqp://h:70000":               "want a URL",
		"amqp://me:hunter2%@h":         "want a URL",
		"amqp://me:hun/ter2@h":         "want a URL",
		"amqp://h#hunter2":             "want a URL",
		"amqp://h?hunter2":             "a parameter that is not known: want one of auth_mechanism, cacertfile, certfile, keyfile, server_name_indication, verify",
		"amqp://h?cacertfile=/a":       "cacertfile: want amqps://",
		"amqps://h?verify=hunter2":     "verify: want verify_peer or verify_none",
		"amqp://h?auth_mechanism=none": "auth_mechanism: want plain, amqplain or external",
	} {
		if _, err := parseURL(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// FuzzURL finds out that no URL is the end of us, and that none is repeated in an
// error.
func FuzzURL(f *testing.F) {
	for _, text := range []string{"amqp://h", "amqps://me:hunter2@[::1]:5/a%2fb?verify=verify_none", "amqp://me:hunter2%@h", "amqp://h?x=hunter2"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := parseURL(text)
		if err != nil && strings.Contains(text, "hunter2") && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", text, err)
		}
		if err == nil && (a.host == "" || a.vhost == "" || len(a.logins) == 0) {
			t.Errorf("%q: %+v", text, a)
		}
	})
}
