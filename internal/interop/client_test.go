package interop

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/internal/testprog"
)

var (
	approximately = regexp.MustCompile(`^Approximately \d+\.\d seconds until results available\n`)
	received      = regexp.MustCompile(`(?m)^SID:\t([0-9a-f]{32})$`)
)

// TestInteropOwpingBothWays lets Owl's owping test in both directions with the
// reference's owampd. Of what it saves both owstats print what it has printed,
// and both owfetch get the session that the server has.
func TestInteropOwpingBothWays(t *testing.T) {
	c, own := reference(t), owl(t)
	v := c.serve(t, 0)
	type ping struct {
		*testprog.Process
		ipv6            bool
		padding, output string
		to, from        string
	}
	var running []*ping
	for _, ipv6 := range []bool{false, true} {
		for _, padding := range []string{"0", "1000"} {
			for _, output := range []string{"", "-M", "-v -U", "-R"} {
				dir := t.TempDir()
				p := &ping{ipv6: ipv6, padding: padding, output: output, to: filepath.Join(dir, "to.owp"), from: filepath.Join(dir, "from.owp")}
				args := append(strings.Fields("-c 200 -i 0.005 -L 0.5 -P 0 -D CS1 -s "+padding+" "+output), "-T", p.to, "-F", p.from, v.at(ipv6))
				p.Process = testprog.Start(t, own.command("owping", args...))
				running = append(running, p)
			}
		}
	}
	for _, p := range running {
		t.Run(fmt.Sprintf("IPv6 %v padding %s %s", p.ipv6, p.padding, p.output), func(t *testing.T) {
			if code := p.ExitCode(t); code != 0 {
				t.Fatalf("exit code %d: %s", code, p.Stderr)
			}
			var want string
			for _, path := range []string{p.to, p.from} {
				m := read(t, path)
				if m.Spec.Receiver.Addr().Is6() != p.ipv6 || fmt.Sprint(m.Spec.Padding) != p.padding || m.Spec.TypeP != 8<<24 || m.Spec.Packets != 200 {
					t.Errorf("%s: %+v", path, m.Spec)
				}
				m.checkWhole(t)
				text, err := c.owstats(append(strings.Fields(p.output), path)...)
				if err != nil {
					t.Fatal(err)
				}
				want += text
				if p.output == "" {
					if err := compareOwstats(c, own, path); err != nil {
						t.Error(err)
					}
				}
			}
			got := approximately.ReplaceAllString(nameless([]byte(p.Stdout.String())), "")
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-reference's owstats +owping)\n%s", d)
			}
			compareOwfetch(t, c, own, v.at(p.ipv6), p.to)
		})
	}
}

// compareOwfetch fetches the session of an .owp file that was fetched before,
// with each suite's owfetch.
func compareOwfetch(t *testing.T, c, own suite, server, path string) {
	t.Helper()
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sid := read(t, path).Spec.SID.String()
	var printed []string
	for _, s := range []suite{c, own} {
		again := filepath.Join(t.TempDir(), "again.owp")
		p := testprog.Start(t, s.command("owfetch", "-M", server, sid, again))
		if code := p.ExitCode(t); code != 0 {
			t.Errorf("%s: exit code %d: %s", s.name, code, p.Stderr)
			continue
		}
		if got, err := os.ReadFile(again); err != nil || !bytes.Equal(want, got) {
			t.Errorf("%s's owfetch: %v, %d octets that differ from owping's %d", s.name, err, len(got), len(want))
		}
		printed = append(printed, nameless([]byte(p.Stdout.String())))
	}
	if len(printed) == 2 && printed[0] != printed[1] {
		t.Errorf("owfetch -M (-reference +owl)\n%s", cmp.Diff(printed[0], printed[1]))
	}
}

// TestInteropDenied asks the reference's server for a session that there is not.
func TestInteropDenied(t *testing.T) {
	c, own := reference(t), owl(t)
	v := c.serve(t, 0)
	path := filepath.Join(t.TempDir(), "f.owp")
	sid := strings.Repeat("0", 32)
	p := testprog.Start(t, own.command("owfetch", v.at(false), sid, path))
	if code := p.ExitCode(t); code != 1 || !strings.Contains(p.Stderr.String(), "Unable to fetch sid("+sid+"): Server denied request for session data") {
		t.Errorf("exit code %d, %s", code, p.Stderr)
	}
	if _, err := os.Stat(path); err == nil {
		t.Errorf("%s: a file was left behind", path)
	}
}

// TestInteropInterrupted ends an owping early: what was measured by then is
// reported, in both directions.
func TestInteropInterrupted(t *testing.T) {
	c, own := reference(t), owl(t)
	v := c.serve(t, 0)
	dir := t.TempDir()
	to, from := filepath.Join(dir, "to.owp"), filepath.Join(dir, "from.owp")
	p := testprog.Start(t, own.command("owping", "-c", "100000", "-i", "0.01", "-L", "0.5", "-P", "0", "-T", to, "-F", from, v.at(false)))
	p.Await(t, p.Stdout, "start", func(text string) bool { return approximately.MatchString(text) })
	awaitRecords(t, filepath.Join(dir, ".owping-*.i"), 80)
	p.Signal(syscall.SIGINT)
	if code := p.ExitCode(t); code != 0 {
		t.Errorf("exit code %d: %s", code, p.Stderr)
	}
	if n := len(received.FindAllString(p.Stdout.String(), -1)); n != 2 {
		t.Errorf("%d reports, want 2\n%s", n, p.Stdout)
	}
	for _, path := range []string{to, from} {
		m := read(t, path)
		if k := m.count(m.NextSeq); m.NextSeq == 0 || m.NextSeq >= m.Spec.Packets || k.received == 0 || k.lost != 0 {
			t.Errorf("%s: next %d, %+v: want the first packets of the session", path, m.NextSeq, k)
		}
	}
}

// TestInteropOwup compares what both owup say of both servers.
func TestInteropOwup(t *testing.T) {
	c, own := reference(t), owl(t)
	for _, s := range []suite{c, own} {
		v := s.serve(t, 0)
		var said []string
		for _, client := range []suite{c, own} {
			p := testprog.Start(t, client.command("owup", v.at(false)))
			if code := p.ExitCode(t); code != 0 {
				t.Errorf("%s's owup: exit code %d: %s", client.name, code, p.Stderr)
			}
			lines := p.Stderr.Lines()
			said = append(said, lines[len(lines)-1])
		}
		if said[0] != said[1] || !regexp.MustCompile(`^Server Up Since: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}UTC$`).MatchString(said[1]) {
			t.Errorf("of %s's owampd: the reference says %q, Owl %q", s.name, said[0], said[1])
		}
	}
}
