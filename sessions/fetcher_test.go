package sessions

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/owamp"
	"owl/owamp/control"
	"owl/owamp/owp"
	"owl/owamp/schedule"
	"owl/owamp/stats"
	"owl/probe/clock"
)

// What is written of a fetched session, and under which name, is what the
// reference writes of it. The files are of its powstream -t -c 80 -i 0.1 -L 1,
// with no names of hosts to be had.
func TestWrittenAsReference(t *testing.T) {
	names, err := filepath.Glob("testdata/to-peer/*.owp")
	if err != nil || len(names) == 0 {
		t.Fatalf("%v, %d files", err, len(names))
	}
	for _, name := range names {
		octets, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		r, err := owp.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		spec := r.Header().Spec
		dir, err := OpenDirectory(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		var written []string
		c := clock.New(clock.Config{})
		stream := &Stream{tally: NewTally(c), cfg: StreamConfig{
			Clock:     c,
			Directory: dir,
			Timeout:   spec.Timeout,
			Names:     func(_, _ netip.Addr) stats.Names { return stats.Names{From: "***", To: "***"} },
			Written:   func(path string) { written = append(written, path) },
		}}
		s := &session{Stream: stream, start: spec.Start, spec: spec, track: stream.tally.Track(), sent: &sent{
			ended: make(chan struct{}), report: owamp.SendReport{NextSeq: spec.Packets}, whole: true,
		}}
		close(s.sent.ended)
		if s.end, err = schedule.End(&spec); err != nil {
			t.Fatal(err)
		}
		s.sent.until = s.end
		if s.file, err = dir.Begin(spec.SID); err != nil {
			t.Fatal(err)
		}
		if _, err := s.file.Write(octets); err != nil {
			t.Fatal(err)
		}
		if err := s.writeFetched(true); err != nil {
			t.Fatal(err)
		}
		if s.sent.received+s.sent.lost != spec.Packets {
			t.Errorf("%s: received %d, lost %d, want %d together", name, s.sent.received, s.sent.lost, spec.Packets)
		}
		if len(written) != 2 {
			t.Fatalf("%s: written %q", name, written)
		}
		for i, like := range []string{name, strings.TrimSuffix(name, "owp") + "sum"} {
			if filepath.Base(written[i]) != filepath.Base(like) {
				t.Errorf("written %s, want %s", written[i], like)
			}
			got, err := os.ReadFile(written[i])
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(like)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("%s (-reference +owl):\n%s", like, d)
			}
		}
	}
}

// To be refused a session is one thing, not to be let in another.
func TestRefused(t *testing.T) {
	denied := &control.DeniedError{Step: "Fetch-Ack", Accept: owamp.AcceptReject}
	for _, test := range []struct {
		err  error
		want bool
	}{
		{&failure{GapRefused, fmt.Errorf("fetching: %w", denied)}, true},
		{&failure{GapHandshakeFailed, fmt.Errorf("connecting: %w", denied)}, false},
		{&failure{GapPeerUnreachable, errors.New("no route to host")}, false},
		{errors.New("disk full"), false},
	} {
		accept, got := refused(test.err)
		if got != test.want || got && accept != owamp.AcceptReject {
			t.Errorf("%v: %v, %v, want %v", test.err, accept, got, test.want)
		}
	}
}
