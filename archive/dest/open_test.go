package dest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"owl/archive"
)

// open returns the destination of an archiver's data, which is closed at the end
// of the test.
func open(t testing.TB, archiver, data string) archive.Opened {
	t.Helper()
	d, err := tryOpen(archiver, data)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func tryOpen(archiver, data string) (archive.Opened, error) {
	spec, err := archive.ParseSpec(fmt.Appendf(nil, `{"archiver": %q, "data": %s}`, archiver, data))
	if err != nil {
		return archive.Opened{}, err
	}
	return Open(spec)
}

// deliver gives a payload to a destination.
func deliver(t testing.TB, d archive.Destination, payload string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return d.Deliver(ctx, &archive.Item{ID: testID, Payload: []byte(payload), RunHref: "https://h/run"})
}

const testID = "0d5b4f7e-5f0f-4f51-a8a5-2f1f6a5b9c01"

// improvements are the data of which pScheduler thinks otherwise, and why.
var improvements = map[string]struct {
	valid bool
	why   string
}{
	`http {"schema": 2, "_url": "http://h/x", "headers": {"A": "b"}}`:     {true, "its documentation calls them so"},
	`http {"schema": 2, "_url": "http://h/x", "_headers": {"A": 1}}`:      {true, "its documentation has numbers, and its code sends them"},
	`http {"schema": 2, "_url": "http://h/x", "_headers": {"A": null}}`:   {true, "its documentation has null, and its code knows it"},
	`kafka {"topic": "t", "server-address": "s"}`:                         {true, "its documentation calls it so"},
	`postgresql {"_dsn": "d", "table": "ab", "column": "c", "schema": 1}`: {false, "it fails at each result: that is told at the start"},
	`rabbitmq {"_url": "http://x/"}`:                                      {false, "it fails at each result: that is told at the start"},
	`rabbitmq {"schema": 3, "_url": "amqp://x/", "timeout": "PT1S"}`:      {true, "its schema 3 exists, but no data can be valid there"},
	`tcp {"schema": 1, "host": "h", "port": 1}`:                           {true, "every other archiver takes schema 1"},
}

// TestValidation: data are taken and refused as pScheduler does, but for what is
// better.
func TestValidation(t *testing.T) {
	text, err := os.ReadFile("testdata/validation.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for line := range strings.Lines(string(text)) {
		spec, answer, ok := strings.Cut(strings.TrimSpace(line), " => ")
		archiver, data, _ := strings.Cut(spec, " ")
		if !ok {
			continue
		}
		var want struct{ Valid bool }
		if err := json.Unmarshal([]byte(answer), &want); err != nil {
			t.Fatal(err)
		}
		if better, ok := improvements[spec]; ok {
			want.Valid = better.valid
			seen++
		}
		d, err := tryOpen(archiver, data)
		if (err == nil) != want.Valid {
			t.Errorf("%s: %v, want valid: %t", spec, err, want.Valid)
		}
		if err == nil {
			d.Close()
		}
	}
	if seen != len(improvements) {
		t.Errorf("%d of %d improvements were seen", seen, len(improvements))
	}
}

// TestExamples: what pScheduler's documentation shows is taken.
func TestExamples(t *testing.T) {
	text, err := os.ReadFile("testdata/examples.json")
	if err != nil {
		t.Fatal(err)
	}
	specs, err := archive.ParseSpecs(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range specs {
		d, err := Open(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		d.Close()
	}
	if len(specs) != 13 {
		t.Errorf("there are %d examples", len(specs))
	}
}

// TestRefused: what is wrong is told with its path, and no secret is.
func TestRefused(t *testing.T) {
	for _, c := range []struct{ archiver, data, want string }{
		{"nothing", `{}`, `/archiver: "nothing": want one of bitbucket`},
		{"bitbucket", `{"x": 1}`, "/data/x: is unknown"},
		{"bitbucket", `[]`, "want an object"},
		{"failer", `{"fail": "often"}`, "/data/fail: \"often\": want a number"},
		{"http", `{}`, "/data/_url: is missing"},
		{"http", `null`, "/data/_url: is missing"},
		{"http", `{"_url": "gopher://h/x"}`, "/data/_url: want a URL that begins with http"},
		{"http", `{"_url": "http://h", "schema": 2, "headers": {}, "_headers": {}}`, "/data/headers: want either"},
		{"http", `{"_url": "http://h", "schema": 2, "_headers": {"a b": "c"}}`, "/data/_headers/a b: want the name of a header"},
		{"http", `{"_url": "http://h", "schema": 2, "_headers": {"a": "b\r\nc: d"}}`, "/data/_headers/a: want"},
		{"http", `{"_url": "http://h", "schema": 2, "headers": {"a": []}}`, "/data/headers/a: want a string, a number or null"},
		{"http", `{"_url": "http://h", "schema": 2, "headers": {"content-length": 5}}`, "/data/headers/content-length: want none"},
		{"http", `{"_url": "http://h", "schema": 4, "timeout": "PT0S"}`, "/data/timeout: want at least a millisecond"},
		{"tcp", `{"host": "h", "port": 65536}`, "/data/port: 65536: want a whole number from 0 to 65535"},
		{"tcp", `{"host": "h", "port": 1, "ip-version": 5}`, "/data/ip-version: 5: want 4 or 6"},
		{"tcp", `{"host": "h", "port": 1, "payload-size": 5}`, "/data/payload-size: is unknown"},
		{"syslog", `{"host": "h", "path": "/x"}`, "/data/path: is unknown"},
		{"syslog", `{"host": "h", "ident": "a b"}`, "/data/ident: want at most 48 characters"},
		{"syslog", `{"ident": "a\nb"}`, "/data/ident: want one line"},
		{"syslog", `{"host": "h", "_ssl-cacert": "/x"}`, "/data/_ssl-cacert: is unknown"},
		{"syslog", `{"host": "h", "transport": "tls", "_ssl-cacert": "/nonexistent"}`, "/data/transport: open ***: no such file"},
		{"syslog", `{"max-length": 10}`, "/data/max-length: 10: want a whole number from 480"},
		{"snmptrap", `{"dest": "h", "_community": "public"}`, "/data/trap-oid: is missing"},
		{"snmptrap", `{"dest": "h", "trap-oid": "1.2.3"}`, "/data/security-name: is missing"},
		{"snmptrap", `{"dest": "h", "_community": "c", "trap-oid": "IF-MIB::linkDown"}`, "/data/trap-oid: \"IF-MIB::linkDown\": want an OID in numbers"},
		{"snmptrap", `{"dest": "h", "_community": "c", "trap-oid": "1.2.4294967296"}`, "/data/trap-oid: "},
		{"snmptrap", `{"dest": "h", "_community": "c", "trap-oid": "1.2.3", "version": "1", "inform": true}`, "/data/inform: want version 2c or 3"},
		{"snmptrap", `{"dest": "h", "security-name": "u", "trap-oid": "1.2.3", "_auth-key": "short", "auth-protocol": "MD5"}`, "/data/_auth-key: want at least 8"},
		{"snmptrap", `{"dest": "h", "security-name": "u", "trap-oid": "1.2.3", "security-level": "noAuthNoPriv", "_priv-key": "12345678"}`, "/data/_priv-key: want none"},
		{"snmptrap", `{"dest": "h", "_community": "c", "trap-oid": "1.2.3", "trap-varbinds": [{"oid": "1.2"}]}`, "/data/trap-varbinds/0/value: is missing"},
		{"file", `{"path": "results"}`, `/data/path: "results": want one that begins with /`},
		{"file", `{"path": "/x", "max-size": 5}`, "/data/max-size: 5: want a whole number from 4096"},
		{"exec", `{"plugin": "/nonexistent", "data": {}}`, "/data/plugin: "},
		{"exec", `{"plugin": "archiver", "data": {}}`, `/data/plugin: "archiver": want a folder`},
		{"exec", `{"plugin": "/nonexistent"}`, "/data/data: is missing"},
	} {
		_, err := tryOpen(c.archiver, c.data)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want %q", c.archiver, c.data, err, c.want)
		}
	}
	for _, data := range []string{
		`{"_url": "https://u:sesame@ho st/"}`, `{"_url": "http://h", "schema": 2, "_headers": {"Authorization": "sesame\n"}}`,
		`{"_url": ["sesame"]}`, `{"_url": "sesame"}`,
	} {
		if _, err := tryOpen("http", data); err == nil || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: %v", data, err)
		}
	}
}

// leaky is a destination that tells what it should not.
type leaky struct{ err error }

func (l leaky) Deliver(context.Context, *archive.Item) error { return l.err }
func (leaky) Close() error                                   { return nil }

// TestDiscreet: secrets are not told of, and an error stays what it is.
func TestDiscreet(t *testing.T) {
	hide := maskOf(map[string]any{
		"_url":   "amqp://user:open%20sesame@h/",
		"_dsn":   "d",
		"plugin": map[string]any{"_key": "thirty-thieves", "url": "http://h/"},
	})
	for text, want := range map[string]string{
		"dial amqp://user:open%20sesame@h/: refused": "dial ***: refused",
		"bad password open sesame at http://h/":      "bad password *** at http://h/",
		"key thirty-thieves":                         "key ***",
		"wedged":                                     "wedged", // d is no word to look for
	} {
		d := &discreet{leaky{errors.New(text)}, hide}
		if err := d.Deliver(t.Context(), nil); err.Error() != want || archive.IsFinal(err) {
			t.Errorf("%q became %q, want %q", text, err, want)
		}
		d = &discreet{leaky{archive.Final(errors.New(text))}, hide}
		if err := d.Deliver(t.Context(), nil); err.Error() != want || !archive.IsFinal(err) {
			t.Errorf("final: %q became %q", text, err)
		}
		d = &discreet{leaky{&archive.AgainError{Err: errors.New(text), After: 7}}, hide}
		err := d.Deliver(t.Context(), nil)
		if again, ok := errors.AsType[*archive.AgainError](err); !ok || again.After != 7 || err.Error() != want {
			t.Errorf("again: %q became %v", text, err)
		}
	}
}

// TestFailer: by chance, and by its data certainly.
func TestFailer(t *testing.T) {
	if err := deliver(t, open(t, "failer", `{"fail": 0}`), "1"); err != nil {
		t.Errorf("fail 0: %v", err)
	}
	err := deliver(t, open(t, "failer", `{"fail": 1, "retry": 1, "delay": "PT0.001S"}`), "1")
	if again, ok := errors.AsType[*archive.AgainError](err); !ok || again.After != 10*time.Second {
		t.Errorf("fail 1, retry 1: %v", err)
	}
	for _, data := range []string{`{"fail": 1, "retry": 0}`, `{"schema": 2, "fail": 0, "badly": true}`} {
		if err := deliver(t, open(t, "failer", data), "1"); !archive.IsFinal(err) {
			t.Errorf("%s: %v, want a final error", data, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := open(t, "failer", `{"delay": "P1D"}`).Deliver(ctx, &archive.Item{}); !errors.Is(err, context.Canceled) {
		t.Errorf("a failer that is not waited for: %v", err)
	}
	failed, d := 0, open(t, "failer", `{}`)
	for range 1000 {
		if deliver(t, d, "1") != nil {
			failed++
		}
	}
	if failed < 350 || failed > 650 {
		t.Errorf("%d of 1000 have failed, want about a half", failed)
	}
	if err := deliver(t, open(t, "bitbucket", `{}`), "1"); err != nil {
		t.Errorf("bitbucket: %v", err)
	}
}

// FuzzOpen: whatever data there are, they are taken or refused. Of exec they
// would run programs.
func FuzzOpen(f *testing.F) {
	text, err := os.ReadFile("testdata/validation.txt")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if spec, _, ok := strings.Cut(line, " => "); ok {
			archiver, data, _ := strings.Cut(spec, " ")
			f.Add(archiver, data)
		}
	}
	f.Add("snmptrap", `{"_community": "public", "dest": "localhost", "trap-oid": "1.2.3", "trap-varbinds": [{"oid": ".1.3", "value": -1}]}`)
	f.Add("file", `{"path": "/nonexistent/x", "rotate": "P1D", "keep": 3}`)
	f.Fuzz(func(t *testing.T, archiver, data string) {
		if archiver == "exec" {
			return
		}
		d, err := tryOpen(archiver, data)
		if err != nil {
			if d.Destination != nil {
				t.Errorf("a destination beside %v", err)
			}
			return
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
}
