package kafka

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"owl/archive"
	"owl/archive/dest/internal/desttest"
	"owl/archive/retry"
	"owl/internal/testserver"
)

func open(data string) (archive.Opened, error) { return desttest.Open(Open, data) }

func TestOpen(t *testing.T) {
	const start = `{"schema": 2, "topic": "t", "server": "s", "security-protocol": `
	ca := testserver.NewAuthority(t).File
	for data, want := range map[string]string{
		// What pScheduler says to these, it says, too.
		`{"topic": "t", "server": "s"}`: "",
		`{"schema": 2, "topic": "t", "server": "s", "security-protocol": "PLAINTEXT"}`: "",
		`{"schema": 2, "topic": "t", "server": "s"}`:                                   "/data/security-protocol: is missing",
		`{"schema": 3, "topic": "t", "server": "s"}`:                                   "/data/schema: 3: want",
		`{"server": "s"}`:                                   "/data/topic: is missing",
		`{"topic": "t"}`:                                    "/data/server: is missing",
		`{"topic": 5, "server": "s"}`:                       "/data/topic: 5: want a string",
		`{"topic": "t", "server": "s", "more": 1}`:          "/data/more: is unknown",
		`{"topic": "t", "server": "s", "archiver-id": "x"}`: `/data/archiver-id: want "schema": 2`,
		`{"topic": "t", "server": "s", "retry-policy": []}`: `/data/retry-policy: want "schema": 2`,
		// The reference's example, which it does not take itself.
		`{"topic": "test", "server-address": "localhost:9092"}`:   "",
		`{"topic": "test", "server-address": "s", "server": "s"}`: "/data/server-address: want either it or server",
		// It takes any text, and any other member.
		`{"topic": "a b", "server": "s"}`:                                      "/data/topic: want at most 249 letters",
		`{"topic": "", "server": "s"}`:                                         "/data/topic: want at most 249 letters",
		`{"topic": "t", "server": " , "}`:                                      "/data/server: want HOST or HOST:PORT",
		`{"topic": "t", "server": "s:port"}`:                                   "unable to parse",
		start + `"PLAINTEXT", "archiver-i": "x"}`:                              "/data/archiver-i: is unknown",
		start + `"PLAINTEXT", "_ssl-cert": "x"}`:                               "/data/_ssl-cert: want it only with the security-protocol SSL or SASL_SSL",
		start + `"SSL", "_ssl-cacert": "/no/file"}`:                            "open /no/file",
		start + `"SSL", "_ssl-cacert": "` + ca + `"}`:                          "",
		start + `"SSL", "_ssl-ca": "` + ca + `"}`:                              "",
		start + `"SSL", "_ssl-ca": "` + ca + `", "_ssl-cacert": "` + ca + `"}`: "/data/_ssl-ca: want either it or _ssl-cacert",
		start + `"SSL", "ssl-checkhostname": "no"}`:                            `/data/ssl-checkhostname: "no": want true or false`,
		start + `"TLS"}`: `/data/security-protocol: "TLS": want one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL`,
		start + `"PLAINTEXT", "archiver-id": "x", "kafka-retries": 5, "retry-policy": [{"attempts": 1, "wait": "PT1S"}]}`: "",
		start + `"PLAINTEXT", "kafka-retries": -1}`: "/data/kafka-retries: -1: want",
		// Our own.
		`{"topic": "t", "server": "a, b:9093 ,[::1]:5"}`:                                                            "",
		start + `"SASL_PLAINTEXT"}`:                                                                                 "/data/sasl-username: is missing\n/data/_sasl-password: is missing",
		start + `"SASL_PLAINTEXT", "sasl-username": "u", "_sasl-password": "hunter2"}`:                              "",
		start + `"SASL_SSL", "sasl-username": "u", "_sasl-password": "hunter2", "sasl-mechanism": "SCRAM-SHA-512"}`: "",
		start + `"SASL_SSL", "sasl-username": "u", "_sasl-password": "hunter2", "sasl-mechanism": "GSSAPI"}`:        `/data/sasl-mechanism: "GSSAPI": want one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512`,
		start + `"SSL", "_sasl-password": "hunter2"}`:                                                               "/data/_sasl-password: want it only with the security-protocol SASL_PLAINTEXT or SASL_SSL",
		start + `"SASL_SSL", "sasl-username": "u", "_sasl-password": 5}`:                                            "/data/_sasl-password: a secret that will not do",
	} {
		d, err := open(data)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", data, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2")):
			t.Errorf("%s: %v, want %q", data, err, want)
		case err == nil:
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestDefaults(t *testing.T) {
	d, err := open(`{"topic": "t", "server": "a,b:5"}`)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	c := d.Destination.(*destination).client
	got := []any{c.OptValue(kgo.ClientID), c.OptValue(kgo.RecordRetries), c.OptValue(kgo.SeedBrokers), d.Retry}
	want := []any{"ps-kafka-archiver", int64(3), []string{"a", "b:5"}, retry.Policy(nil)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	d, err = open(`{"schema": 2, "topic": "t", "server": "a", "security-protocol": "PLAINTEXT", "archiver-id": "me", "kafka-retries": 7, "retry-policy": [{"attempts": 2, "wait": "PT1S"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	c = d.Destination.(*destination).client
	got = []any{c.OptValue(kgo.ClientID), c.OptValue(kgo.RecordRetries), d.Retry}
	want = []any{"me", int64(7), retry.Policy{{Attempts: 2, Wait: time.Second}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
