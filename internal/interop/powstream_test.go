package interop

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/internal/testprog"
	"owl/owamp"
	"owl/owamp/owp"
)

// A stream is a powstream that measures from an owampd.
type stream struct {
	*testprog.Process
	client, server suite
	ipv6           bool
	padding        int
	packets, part  int
	dir            string
	whole          int // sessions whose files were there before the end
}

// TestInteropPowstream lets powstreams measure from owampds, every pair of
// suites but the reference's with itself, side by side. Then it looks at what
// they have written.
func TestInteropPowstream(t *testing.T) {
	t.Parallel()
	c, own := reference(t), owl(t)
	servers := map[suite]*server{c: c.serve(t, 0), own: own.serve(t, 0)}
	var streams []*stream
	for _, pair := range []struct{ client, server suite }{{c, own}, {own, c}, {own, own}} {
		for _, ipv6 := range []bool{false, true} {
			for _, padding := range []int{0, 1400} {
				for _, part := range []int{0, 50} {
					s := &stream{client: pair.client, server: pair.server, ipv6: ipv6, padding: padding, packets: 200, part: part, dir: t.TempDir()}
					s.start(t, servers[pair.server])
					streams = append(streams, s)
				}
			}
		}
	}
	for _, s := range streams {
		// The reference asks for its second session while the first runs, 10 s
		// ahead: there is one of 2 s each 10 s.
		n := 8
		if s.client == c {
			n = 2
		}
		awaitFiles(t, s.Process, n, ".owp")
	}
	for _, s := range streams {
		s.whole = strings.Count(s.Stdout.String(), ".owp\n")
		if code := s.Terminate(t); code != 0 {
			t.Errorf("%v: exit code %d", s.Cmd, code)
		}
	}
	for _, s := range streams {
		t.Run(s.String(), func(t *testing.T) { s.check(t, c, own) })
	}
}

func (s *stream) String() string {
	family := "IPv4"
	if s.ipv6 {
		family = "IPv6"
	}
	return fmt.Sprintf("%s from %s %s padding %d part %d", s.client.name, s.server.name, family, s.padding, s.part)
}

func (s *stream) start(t *testing.T, v *server) {
	t.Helper()
	args := []string{"-p", "-P", "0", "-d", s.dir, "-c", strconv.Itoa(s.packets), "-i", "0.01", "-L", "1", "-s", strconv.Itoa(s.padding)}
	if s.part != 0 {
		args = append(args, "-N", strconv.Itoa(s.part))
	}
	s.Process = testprog.Start(t, s.client.command("powstream", append(args, v.at(s.ipv6))...))
}

// check checks the stream's files.
func (s *stream) check(t *testing.T, c, own suite) {
	all := sessionsIn(t, s.dir)
	if len(all) == 0 {
		t.Fatal("no session")
	}
	for i, m := range all {
		if m.Spec.Padding != uint32(s.padding) || m.Spec.Sender.Addr().Is6() != s.ipv6 {
			t.Errorf("%s: %+v", m.path, m.Spec)
		}
		if m.isCut(t) && i == len(all)-1 {
			m.checkCut(t, owp.Normal)
		} else {
			m.checkWhole(t)
		}
	}
	if s.client == own {
		checkChain(t, all)
	}
	checkPrinted(t, s.dir, s.Stdout.Lines())

	// Processes that print a few lines each: as many at once as help.
	var work sync.WaitGroup
	places := make(chan struct{}, 4)
	for i, m := range all {
		work.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			err := s.compareSummaries(c, own, m, i < s.whole)
			if i < 2 || i == len(all)-1 {
				err = errors.Join(err, compareOwstats(c, own, m.path))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
}

// hosts is what texts say of hosts' names, which depend on who resolves them.
var hosts = regexp.MustCompile(`(?m)^(FROM_HOST|TO_HOST)\t.*$|from \[.*\]:(\d+) to \[.*\]:(\d+)`)

func nameless(text []byte) string { return hosts.ReplaceAllString(string(text), "${1}from $2 to $3") }

// scope is what the reference's powstream appends to the IPv6 addresses in its
// summaries: a number that nobody has set.
var scope = regexp.MustCompile(`(?m)^((?:FROM|TO)_ADDR\t.*)%\d+$`)

// owstats returns what the suite's owstats prints, but for hosts' names.
func (s suite) owstats(args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := s.command("owstats", args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%v: %w: %s", cmd, err, stderr.Bytes())
	}
	return nameless(out), nil
}

// compareOwstats holds the two owstats against each other over one file.
func compareOwstats(c, own suite, path string) error {
	for _, args := range []string{
		"-M -b 0.00001", "-M -b 0.0001", "-R", "-M -U", "-M -N 30", "-N 70", "-a 0,5,50,99.9", "-n n", "-n u", "-n s", "-v", "-v -U", "",
	} {
		full := append(strings.Fields(args), path)
		want, err := c.owstats(full...)
		if err != nil {
			return err
		}
		got, err := own.owstats(full...)
		if err != nil {
			return err
		}
		if d := cmp.Diff(want, got); d != "" {
			return fmt.Errorf("owstats %s %s (-reference +owl):\n%s", args, path, d)
		}
	}
	return nil
}

// compareSummaries holds the summaries that a powstream has written of a
// session against what the other suite's owstats makes of the .owp.
func (s *stream) compareSummaries(c, own suite, m *measured, whole bool) error {
	other := c
	if s.client == c {
		other = own
	}
	written := func(name string) (string, error) {
		text, err := os.ReadFile(name)
		if s.client == c && s.ipv6 {
			text = scope.ReplaceAll(text, []byte("$1"))
		}
		return nameless(text), err
	}
	got, err := written(strings.TrimSuffix(m.path, "owp") + "sum")
	if err != nil {
		return err
	}
	want, err := other.owstats("-M", "-b", "0.0001", m.path)
	if err != nil {
		return err
	}
	if d := cmp.Diff(want, got); d != "" {
		return fmt.Errorf("summary of %s (-owstats +powstream):\n%s", m.path, d)
	}
	if s.part == 0 {
		return nil
	}

	parts, err := other.owstats("-M", "-b", "0.0001", "-N", strconv.Itoa(s.part), m.path)
	if err != nil {
		return err
	}
	// While a part is summarized its session runs.
	want = strings.ReplaceAll(parts, "SESSION_FINISHED\t1", "SESSION_FINISHED\t0")
	got = ""
	at := m.start
	for at != m.end {
		name, end, err := s.partAt(at, m)
		if err != nil {
			return err
		}
		if name == "" {
			break
		}
		text, err := written(name)
		if err != nil {
			return err
		}
		got += text
		at = end
	}
	// What a cut session has of its last part has no summary.
	if d := cmp.Diff(want, got); d != "" && (whole || !strings.HasPrefix(want, got)) {
		return fmt.Errorf("parts of %s (-owstats +powstream):\n%s", m.path, d)
	}
	return nil
}

// partAt returns the summary of the part of m that begins at at, and where the
// part ends; an empty name if there is none.
func (s *stream) partAt(at owamp.Timestamp, m *measured) (name string, end owamp.Timestamp, err error) {
	names, err := filepath.Glob(filepath.Join(s.dir, fmt.Sprintf("%020d_*.sum", uint64(at))))
	if err != nil {
		return "", 0, err
	}
	whole := strings.TrimSuffix(m.path, "owp") + "sum"
	for _, n := range names {
		if n == whole {
			continue
		}
		var from, to uint64
		if _, err := fmt.Sscanf(filepath.Base(n), "%d_%d.sum", &from, &to); err != nil {
			return "", 0, err
		}
		if name != "" {
			return "", 0, fmt.Errorf("%s and %s begin together", name, n)
		}
		name, end = n, owamp.Timestamp(to)
	}
	return name, end, nil
}
