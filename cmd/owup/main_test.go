package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"owl/sessions/ping/pingtest"
)

// asProgram makes the test binary be owup, for tests of terminals.
const asProgram = "OWUP_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	time.Local = time.FixedZone("CET", 3600)
	os.Exit(m.Run())
}

func owup(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"owup"}, args...), nil, &out, &errs)
	return code, out.String(), errs.String()
}

func TestUp(t *testing.T) {
	peer := pingtest.New(t, pingtest.Config{})
	code, stdout, stderr := owup(t, peer.Addr)
	want := "Server Up Since: " + peer.Start.Time().UTC().Add(time.Hour).Format("2006-01-02T15:04:05.000") + "CET\n"
	if code != 0 || stdout != "" || stderr != want {
		t.Errorf("exit code %d, %q, %q; want 0 and %q", code, stdout, stderr, want)
	}
}

func TestArguments(t *testing.T) {
	for _, tt := range []struct {
		args   string
		code   int
		stdout string // its begin
		stderr string // its first line
		usage  bool
	}{
		{"-h", 0, "usage: owup [arguments] servaddr", "", false},
		{"--help", 0, "usage: owup [arguments] servaddr", "", false},
		{"--version", 0, "owup (Owl) ", "", false},
		{"", 1, "", "owup: want one servaddr", true},
		{"a b", 1, "", "owup: want one servaddr", true},
		{"-x h", 1, "", "owup: unknown option -x", true},
		{"-S", 1, "", "owup: option -S needs an argument", true},
		{"-4 -6 h", 1, "", "owup: -4 and -6 flags cannot be set together", false},
		{"-B a -B b h", 1, "", "owup: -B can only be used once", false},
		{"-A E h", 1, "", "owup: option -A: E: want -u, too, or open mode (O), which has no users", false},
		{"-k f h", 1, "", "owup: option -k: want -u, too, for whose pass-phrase it is", false},
		{"-u alice -k /nonexistent h", 1, "", "owup: option -k: open /nonexistent: no such file or directory", false},
		{"--max-pbkdf2-count 1023 h", 1, "", `owup: option --max-pbkdf2-count: "1023": want a number from 1024 to 4294967295`, false},
		{":80", 1, "", `owup: address ":80": want a host`, false},
		{"127.0.0.1:1", 1, "", "owup: Unable to open control connection to 127.0.0.1:1: Couldn't open 'control' connection to server 127.0.0.1:1: connection refused", false},
		{"-6 127.0.0.1:1", 1, "", `owup: Unable to open control connection to 127.0.0.1:1: host "127.0.0.1": no IPv6 address`, false},
	} {
		code, stdout, stderr := owup(t, strings.Fields(tt.args)...)
		first, rest, _ := strings.Cut(stderr, "\n")
		if code != tt.code || !strings.HasPrefix(stdout, tt.stdout) || tt.stdout == "" && stdout != "" || first != tt.stderr || (rest != "") != tt.usage {
			t.Errorf("owup %s: exit code %d, %q, %q; want %d, %q, %q", tt.args, code, stdout, stderr, tt.code, tt.stdout, tt.stderr)
		}
	}
}

// A server that closes, and one that is mute, cost one line.
func TestServerFails(t *testing.T) {
	for _, octets := range []int{0, 1, 63, 64, 80, 111} {
		code, stdout, stderr := owup(t, pingtest.Mute(t, octets, true))
		if code != 1 || stdout != "" || !strings.HasPrefix(stderr, "owup: Unable to open control connection to 127.0.0.1:") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("after %d octets: exit code %d, %q, %q", octets, code, stdout, stderr)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	if code := run(ctx, []string{"owup", pingtest.Mute(t, 64, false)}, nil, &out, &errs); code != 1 || strings.Count(errs.String(), "\n") != 1 {
		t.Errorf("canceled: exit code %d, %q", code, errs.String())
	}
}
