package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"owl/internal/testprog"
)

// TestInteropRaw lets the reference's owping and powstream measure from and to an
// owampd that sends from raw sockets, and receives from rings.
func TestInteropRaw(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: raw sockets need root")
	}
	c, own := reference(t), owl(t)
	raw := []string{"--capture", "raw", "--transmit", "raw"}
	streamed := own.serve(t, 0, raw...)
	var streams []*stream
	for _, ipv6 := range []bool{false, true} {
		s := &stream{client: c, server: own, ipv6: ipv6, padding: 100, packets: 200, dir: t.TempDir()}
		s.start(t, streamed)
		streams = append(streams, s)
	}
	type ping struct {
		*testprog.Process
		server *server
		file   string
		ipv6   bool
		i      int // of pings
	}
	var running []ping
	for i, p := range pings {
		for _, ipv6 := range []bool{false, true} {
			v := own.serve(t, 0, raw...) // whose one file is this session's
			file := filepath.Join(t.TempDir(), "from.owp")
			args := append(strings.Fields(p.args), "-P", "0", "-L", "1", "-F", file, "-t", v.at(ipv6))
			running = append(running, ping{testprog.Start(t, c.command("owping", args...)), v, file, ipv6, i})
		}
	}
	for _, q := range running {
		if code := q.ExitCode(t); code != 0 {
			t.Errorf("%v: exit code %d: %s", q.Cmd, code, q.Stderr)
			continue
		}
		p := pings[q.i]
		for _, path := range []string{q.file, onlyFile(t, filepath.Join(q.server.data, "catalog"))} {
			checkPing(t, read(t, path), p.packets, p.padding, p.dscp, p.slots, q.ipv6)
		}
	}
	for _, s := range streams {
		awaitFiles(t, s.Process, 1, ".owp")
		if code := s.Terminate(t); code != 0 {
			t.Errorf("%v: exit code %d", s.Cmd, code)
		}
		s.check(t, c, own)
	}
}
