package clock

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// Where the fields of an answer are.
const (
	statusAt     = 8
	sequenceAt   = 16
	correctionAt = 28 + 4 + 20 + 2 + 2 + 12
	rmsAt        = correctionAt + 8
)

func recorded(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/chrony/" + name + ".bin")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A wire answers with what it has, whatever is asked.
type wire struct {
	io.Writer
	answer []byte
}

func (w wire) Read(b []byte) (int, error) {
	if len(w.answer) == 0 {
		return 0, io.EOF
	}
	return copy(b, w.answer), nil
}

func trackingIn(answer []byte) (Source, error) {
	a, err := requestTracking(wire{io.Discard, answer}, 41)
	if err != nil {
		return Source{}, err
	}
	return trackingOf(a)
}

// TestTracking: what chronyd says is read as chronyc reads it.
func TestTracking(t *testing.T) {
	for _, tc := range []struct {
		name string
		want Source
	}{
		{"alone", Source{Figures: Figures{Stratum: 16, Delay: time.Second, Dispersion: time.Second}}},
		{"local", Source{Reference: "7F7F0101", Figures: Figures{Stratum: 16}}},
		{"following", Source{Reference: "127.0.0.1", Synchronized: true, Figures: Figures{
			Stratum: 11, Offset: -2789, Delay: 6775, Dispersion: 1025, Jitter: 717, Poll: 501389623,
		}}},
	} {
		got, err := trackingIn(recorded(t, tc.name))
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if tc.name == "following" && math.Abs(got.Wander-0.179) > 0.0005 {
			t.Errorf("%s: wander %v ppm, want 0.179", tc.name, got.Wander)
		}
		tc.want.Via, got.Wander = ViaChrony, 0
		if got != tc.want {
			t.Errorf("%s:\n got %+v\nwant %+v", tc.name, got, tc.want)
		}
	}
}

// TestTrackingRefused: what is no answer to the question, or says what cannot
// be, is refused.
func TestTrackingRefused(t *testing.T) {
	change := func(at int, octets ...byte) []byte {
		b := recorded(t, "following")
		copy(b[at:], octets)
		return b
	}
	for name, tc := range map[string]struct {
		answer []byte
		want   string
	}{
		"nothing":          {nil, "EOF"},
		"cut off":          {recorded(t, "following")[:100], "EOF"},
		"another number":   {change(sequenceAt, 0, 0, 0, 43), "another question"},
		"denied":           {change(statusAt, 0, 2), "UNAUTH"},
		"another kind":     {change(6, 0, 2), "question"},
		"offset too great": {change(correctionAt, 0x7f, 0xff, 0xff, 0xff), "system time of"},
		"negative RMS":     {change(rmsAt, 0x01, 0xff, 0xff, 0xff), "RMS offset of"},
	} {
		_, err := trackingIn(tc.answer)
		if err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(tc.want)) {
			t.Errorf("%s: %v, want an error with %q", name, err, tc.want)
		}
	}
}

func FuzzTracking(f *testing.F) {
	for _, name := range []string{"alone", "local", "following"} {
		f.Add(recorded(f, name))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		s, err := trackingIn(answer)
		if err != nil {
			return
		}
		if s.Delay < 0 || s.Dispersion < 0 || s.Jitter < 0 || s.Poll < 0 || s.Stratum > 16 || math.IsNaN(s.Wander) ||
			s.Offset.Abs() > 1e9*time.Second || s.MaxError() < s.Offset.Abs() {
			t.Errorf("%+v", s)
		}
		if s.Synchronized && (s.Stratum == 0 || s.Stratum == 16) {
			t.Errorf("synchronized at stratum %d", s.Stratum)
		}
		for _, r := range s.Reference {
			if r < ' ' || r > '~' {
				t.Errorf("reference %q", s.Reference)
			}
		}
	})
}

// repeating returns the answers of a chronyd that says the same whatever it is
// asked, or nothing if that is nil.
func repeating(answer []byte) func(question []byte) []byte {
	return func(question []byte) []byte {
		if answer == nil || len(question) < 12 {
			return nil
		}
		b := bytes.Clone(answer)
		copy(b[sequenceAt:], question[8:12])
		return b
	}
}

// TestChronyAsked: a clock has what chronyd says when it is made; what does not
// come is told once, and counts until it is too old.
func TestChronyAsked(t *testing.T) {
	f := newResponder(t, repeating(recorded(t, "following")))
	place := f.name()
	var log bytes.Buffer
	c := New(Config{
		Read:    func() (Kernel, error) { return Kernel{Error: 16 * time.Second}, nil },
		Sources: Sources{Chrony: place},
		Log:     slog.New(slog.NewTextHandler(&log, nil)),
	})
	s := c.State()
	if len(s.Sources) != 1 || !s.Synchronized || s.Error != 2789+717 || s.MaxError != 2789+6775/2+1025 {
		t.Fatalf("state %+v, want chronyd's", s)
	}
	if src := &s.Sources[0]; src.Name != place || src.Answered != 1 || src.Reach != 1 || src.Last.IsZero() {
		t.Errorf("source %+v", src)
	}
	if e := c.Error(time.Microsecond); !e.Synchronized() || e.Duration() < 4506 || e.Duration() > 4600 {
		t.Errorf("error %v (S %v), want 4.506 µs", e.Duration(), e.Synchronized())
	}

	tr := c.witnesses[0].(*tracker)
	f.set(repeating(nil))
	for range 2 {
		if wait := tr.ask(t.Context()); wait != chronyEvery {
			t.Errorf("asked again after %v", wait)
		}
	}
	now := time.Now()
	src := tr.report(now)
	if !src.Synchronized || src.Reach != 4 || src.Failed != 2 || src.Err == nil {
		t.Errorf("after two answers that did not come: %+v", src)
	}
	if src := tr.report(now.Add(chronyMissed*chronyEvery + time.Second)); src.Synchronized {
		t.Error("an old answer counts")
	}
	if n := strings.Count(log.String(), "chronyd at "+place); n != 1 {
		t.Errorf("%d lines: %s", n, &log)
	}
	f.set(repeating(recorded(t, "alone")))
	tr.ask(t.Context())
	if src := tr.report(time.Now()); src.Synchronized || src.Err != nil || src.Reach != 9 || src.Answered != 2 {
		t.Errorf("without a source: %+v", src)
	}
	if !strings.Contains(log.String(), "answers again") {
		t.Errorf("logged %q", &log)
	}
}

// TestChronyAuto: that there is no chronyd where it usually is is nothing to tell
// of.
func TestChronyAuto(t *testing.T) {
	nobody, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	place := nobody.LocalAddr().String()
	nobody.Close()
	usual := chronyPlaces
	t.Cleanup(func() { chronyPlaces = usual })
	chronyPlaces = []string{place, "/nonexistent/chronyd.sock"}
	var log bytes.Buffer
	c := New(Config{Sources: Sources{Chrony: ChronyAuto}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if s := c.State(); len(s.Sources) != 0 || log.Len() != 0 {
		t.Errorf("sources %+v, logged %q; want none and nothing", s.Sources, &log)
	}

	f := newResponder(t, repeating(recorded(t, "following")))
	chronyPlaces = []string{"/nonexistent/chronyd.sock", f.name()}
	c.Ask(Sources{Chrony: ChronyOff})
	c.Ask(Sources{Chrony: ChronyAuto})
	if s := c.State(); len(s.Sources) != 1 || s.Sources[0].Name != f.name() {
		t.Errorf("sources %+v, want the one that answers", s.Sources)
	}
	f.set(repeating(nil))
	tr := c.witnesses[0].(*tracker)
	tr.ask(t.Context())
	if src := tr.report(time.Now()); src.Err == nil || strings.Contains(src.Err.Error(), "nonexistent") || strings.Count(log.String(), "chronyd at "+f.name()) != 1 {
		t.Errorf("no answer any more: %v, logged %q; want one line of the place where it was", src.Err, &log)
	}
}

func TestSourcesCheck(t *testing.T) {
	many := make([]string, MaxServers+1)
	for _, tc := range []struct {
		s    Sources
		want string
	}{
		{Sources{}, ""},
		{Sources{Chrony: ChronyAuto, NTP: []string{"192.0.2.1", "ntp.example.org:1123", "2001:db8::1", "[2001:db8::1]", "[2001:db8::2]:123"}, Every: 16 * time.Second}, ""},
		{Sources{Chrony: "/run/chrony/chronyd.sock"}, ""},
		{Sources{Chrony: "[::1]:323"}, ""},
		{Sources{Chrony: "localhost"}, `chronyd at "localhost": want auto, off, host:port or the path of its socket`},
		{Sources{Chrony: ":323"}, `chronyd at ":323": want auto, off, host:port or the path of its socket`},
		{Sources{Chrony: "h:0"}, `chronyd at "h:0": want auto, off, host:port or the path of its socket`},
		{Sources{Chrony: "/a\nb"}, `chronyd at "/a\nb": want auto, off, host:port or the path of its socket`},
		{Sources{NTP: []string{""}}, `NTP server "": want a host or host:port`},
		{Sources{NTP: []string{"a b"}}, `NTP server "a b": want a host or host:port`},
		{Sources{NTP: []string{"h:99999"}}, `NTP server "h:99999": want a host or host:port`},
		{Sources{NTP: []string{"h:ntp"}}, `NTP server "h:ntp": want a host or host:port`},
		{Sources{NTP: []string{"a", "b", "a"}}, `NTP server "a": want it once`},
		{Sources{NTP: many}, "17 NTP servers: want at most 16"},
		{Sources{Every: time.Second}, "queries of NTP servers every 1s: want at least 16s and at most 36h0m0s"},
	} {
		got := ""
		if err := tc.s.Check(); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.s, got, tc.want)
		}
	}
}

func FuzzServerAddress(f *testing.F) {
	for _, s := range []string{"h", "h:1", "::1", "[::1]", "[::1]:5", "a:b:c]:1", "[", "]:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := serverAddress(s)
		if err != nil {
			return
		}
		host, port, err := net.SplitHostPort(a)
		if err != nil || host == "" || port == "" {
			t.Errorf("%q is at %q: %v", s, a, err)
		}
		again, err := serverAddress(a)
		if err != nil || again != a {
			t.Errorf("%q is at %q, that is at %q: %v", s, a, again, err)
		}
	})
}

func TestReferenceName(t *testing.T) {
	for id, want := range map[uint32]string{
		0x47505300: "GPS", 0x50505300: "PPS", 0x474f4f47: "GOOG", 0x7f7f0101: "7F7F0101", 0: "00000000", 0x41004100: "41004100",
	} {
		if got := referenceName(id); got != want {
			t.Errorf("%08x: %q, want %q", id, got, want)
		}
	}
}

// TestUnixSocket: a socket that nobody listens at leaves none of ours.
func TestUnixSocket(t *testing.T) {
	dir := t.TempDir()
	place := dir + "/chronyd.sock"
	if _, err := askChrony(t.Context(), place); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v, want that it is not there", err)
	}
	if err := os.WriteFile(place, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := askChrony(t.Context(), place); err == nil {
		t.Error("no error of a file that is no socket")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v; want the one file", entries, err)
	}
}
