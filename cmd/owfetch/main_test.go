package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/internal/report"
	"owl/owamp/owp"
	"owl/sessions/ping/pingtest"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // the golden reports' zone
	os.Exit(m.Run())
}

// owfetch runs the program with numeric names.
func owfetch(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	numeric := func(name string) string {
		if name == "OWL_NUMERIC" {
			return "1"
		}
		return ""
	}
	code = run(t.Context(), append([]string{"owfetch"}, args...), numeric, &out, &errs)
	return code, out.String(), errs.String()
}

func golden(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// keep lets peer have a session of testdata.
func keep(t *testing.T, peer *pingtest.Peer, name string) (sid string) {
	t.Helper()
	octets := golden(t, name)
	r, err := owp.NewReader(strings.NewReader(octets), int64(len(octets)))
	if err != nil {
		t.Fatal(err)
	}
	peer.Keep(r.Header().Spec.SID, []byte(octets))
	return r.Header().Spec.SID.String()
}

// ls returns the names in dir.
func ls(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " ")
}

func TestFetch(t *testing.T) {
	peer := pingtest.New(t, pingtest.Config{})
	loss, skips := keep(t, peer, "loss10.owp"), keep(t, peer, "skips.owp")
	for _, tt := range []struct{ args, stdout string }{
		{"", golden(t, "loss10.txt") + golden(t, "skips.txt")},
		{"-M", golden(t, "loss10.sum")},
		{"-R", golden(t, "loss10.raw")},
		{"-RQ", golden(t, "loss10.raw")},
		{"-Q", ""},
	} {
		dir := t.TempDir()
		a, b := filepath.Join(dir, "a.owp"), filepath.Join(dir, "b.owp")
		if err := os.WriteFile(a, []byte("what was there"), 0o644); err != nil {
			t.Fatal(err)
		}
		args := append(strings.Fields(tt.args), peer.Addr, loss, a)
		if tt.args == "" {
			args = append(args, skips, b)
		}
		code, stdout, stderr := owfetch(t, args...)
		if d := cmp.Diff(tt.stdout, stdout); code != 0 || d != "" || stderr != "" {
			t.Errorf("%s: exit code %d, %s (-want +got)\n%s", tt.args, code, stderr, d)
		}
		if got, err := os.ReadFile(a); err != nil || string(got) != golden(t, "loss10.owp") {
			t.Errorf("%s: %v, %d octets that are not the file's", tt.args, err, len(got))
		}
		if tt.args == "" {
			if got, err := os.ReadFile(b); err != nil || string(got) != golden(t, "skips.owp") {
				t.Errorf("%v, %d octets that are not the file's", err, len(got))
			}
		} else if got := ls(t, dir); got != "a.owp" {
			t.Errorf("%s: the directory holds %q", tt.args, got)
		}
	}
}

// The document is that of owstats, of all that could be fetched.
func TestJSON(t *testing.T) {
	peer := pingtest.New(t, pingtest.Config{})
	loss, skips := keep(t, peer, "loss10.owp"), keep(t, peer, "skips.owp")
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.owp"), filepath.Join(dir, "b.owp")
	const unknown = "000102030405060708090a0b0c0d0e0f"
	code, stdout, stderr := owfetch(t, "--json", peer.Addr, loss, a, unknown, filepath.Join(dir, "c.owp"), skips, b)
	if code != 1 || !strings.Contains(stderr, "Unable to fetch sid("+unknown+")") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	var got struct {
		Schema, Program string
		Sessions        []struct {
			File, SID string
			Summary   struct{ Received, Lost int }
		}
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatalf("%v in\n%s", err, stdout)
	}
	want := got
	want.Schema, want.Program = report.Schema, "owfetch"
	if d := cmp.Diff(want, got); d != "" || len(got.Sessions) != 2 {
		t.Fatalf("%d sessions, want 2 (-want +got):\n%s", len(got.Sessions), d)
	}
	for i, want := range []struct{ file, sid string }{{a, loss}, {b, skips}} {
		if s := got.Sessions[i]; s.File != want.file || s.SID != want.sid || s.Summary.Received == 0 {
			t.Errorf("%+v, want %+v and what was measured", s, want)
		}
	}

	// Without a session there is no document.
	code, stdout, _ = owfetch(t, "--json", peer.Addr, unknown, filepath.Join(dir, "c.owp"))
	if code != 1 || stdout != "" {
		t.Errorf("without a session: exit code %d, %q", code, stdout)
	}
}

// A session that is denied leaves no file, nor does it keep others away.
func TestDenied(t *testing.T) {
	peer := pingtest.New(t, pingtest.Config{})
	sid := keep(t, peer, "loss10.owp")
	dir := t.TempDir()
	const unknown = "000102030405060708090a0b0c0d0e0f"
	code, stdout, stderr := owfetch(t, peer.Addr, unknown, filepath.Join(dir, "a.owp"), sid, filepath.Join(dir, "b.owp"),
		sid, filepath.Join(dir, "nowhere", "c.owp"))
	if d := cmp.Diff(golden(t, "loss10.txt"), stdout); code != 1 || d != "" {
		t.Errorf("exit code %d (-want +got)\n%s", code, d)
	}
	lines := strings.Split(stderr, "\n")
	if len(lines) != 3 || lines[0] != "owfetch: Unable to fetch sid("+unknown+"): Server denied request for session data: Fetch-Ack: refused" ||
		!strings.HasPrefix(lines[1], "owfetch: Unable to fetch sid("+sid+"): open "+filepath.Join(dir, "nowhere")) || !strings.HasSuffix(lines[1], "no such file or directory") {
		t.Errorf("%q", stderr)
	}
	if got := ls(t, dir); got != "b.owp" {
		t.Errorf("the directory holds %q", got)
	}
}

func TestArguments(t *testing.T) {
	const sid = "000102030405060708090a0b0c0d0e0f"
	for _, tt := range []struct {
		args   string
		code   int
		stdout string // its begin
		stderr string // its first line
		usage  bool
	}{
		{"-h", 0, "usage: owfetch [arguments] servaddr [SID savefile]+", "", false},
		{"--help", 0, "usage: owfetch [arguments] servaddr [SID savefile]+", "", false},
		{"--version", 0, "owfetch (Owl) ", "", false},
		{"", 1, "", "owfetch: want a servaddr, and pairs of a SID and a savefile after it", true},
		{"h", 1, "", "owfetch: want a servaddr, and pairs of a SID and a savefile after it", true},
		{"h " + sid, 1, "", "owfetch: want a servaddr, and pairs of a SID and a savefile after it", true},
		{"h " + sid + " f " + sid, 1, "", "owfetch: want a servaddr, and pairs of a SID and a savefile after it", true},
		{"-x h " + sid + " f", 1, "", "owfetch: unknown option -x", true},
		{"-c 3 h " + sid + " f", 1, "", "owfetch: unknown option -c", true},
		{"h zz f", 1, "", `owfetch: session ID "zz": want 32 hexadecimal digits`, false},
		{"-46 h " + sid + " f", 1, "", "owfetch: -4 and -6 flags cannot be set together", false},
		{"-A X h " + sid + " f", 1, "", "owfetch: Invalid -authmode X: want letters out of A, E and O", false},
		{"-A AE h " + sid + " f", 1, "", "owfetch: option -A: AE: want -u, too, or open mode (O), which has no users", false},
		{"-k f h " + sid + " f", 1, "", "owfetch: option -k: want -u, too, for whose pass-phrase it is", false},
		{"-u alice -k /nonexistent h " + sid + " f", 1, "", "owfetch: option -k: open /nonexistent: no such file or directory", false},
		{"--max-pbkdf2-count x h " + sid + " f", 1, "", `owfetch: option --max-pbkdf2-count: "x": want a number from 1024 to 4294967295`, false},
		{"-b 0 h " + sid + " f", 1, "", `owfetch: option -b: bucket width "0": want a number of seconds above 0`, false},
		{"--json -M h " + sid + " f", 1, "", "owfetch: options --json and -M: want one of them: the document is for programs", false},
		{":80 " + sid + " f", 1, "", `owfetch: address ":80": want a host`, false},
		{"[::1 " + sid + " f", 1, "", `owfetch: address "[::1": want ] after the host`, false},
		{"127.0.0.1:1 " + sid + " f", 1, "", "owfetch: Unable to open control connection to 127.0.0.1:1: Couldn't open 'control' connection to server 127.0.0.1:1: connection refused", false},
	} {
		code, stdout, stderr := owfetch(t, strings.Fields(tt.args)...)
		first, rest, _ := strings.Cut(stderr, "\n")
		if code != tt.code || !strings.HasPrefix(stdout, tt.stdout) || tt.stdout == "" && stdout != "" || first != tt.stderr || (rest != "") != tt.usage {
			t.Errorf("owfetch %s: exit code %d, %q, %q; want %d, %q, %q", tt.args, code, stdout, stderr, tt.code, tt.stdout, tt.stderr)
		}
	}
}

// A server that closes at whatever octet costs one line.
func TestServerCloses(t *testing.T) {
	const sid = "000102030405060708090a0b0c0d0e0f"
	for octets, want := range map[int]string{
		0:   "reading Server-Greeting: peer closed the connection",
		63:  "reading Server-Greeting: peer closed the connection within the message",
		64:  "reading Server-Start: ",
		100: "reading Server-Start: ",
		112: "Unable to fetch sid(" + sid + "): ",
	} {
		t.Run(fmt.Sprint(octets), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "f.owp")
			code, stdout, stderr := owfetch(t, pingtest.Mute(t, octets, true), sid, path)
			if code != 1 || stdout != "" || !strings.HasPrefix(stderr, "owfetch: ") || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("exit code %d, %q, %q; want 1 and a line with %q", code, stdout, stderr, want)
			}
			if got := ls(t, filepath.Dir(path)); got != "" {
				t.Errorf("left behind: %s", got)
			}
		})
	}
}
