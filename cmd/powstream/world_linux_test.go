package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"owl/internal/testprog"
	"owl/owamp"
	"owl/owamp/owp"
)

// A server is an owampd of this repository.
type server struct {
	*testprog.Process
	addr string
	data string // the directory of its sessions
}

// serve starts owampd, the program, on loopback.
func serve(t *testing.T, owampd, addr string, env ...string) *server {
	t.Helper()
	return serveIn(t, t.TempDir(), owampd, addr, env...)
}

// serveIn is serve with a directory that may have been another owampd's.
func serveIn(t *testing.T, dir, owampd, addr string, env ...string) *server {
	t.Helper()
	cmd := exec.Command(owampd, "-Z", "-f", "-c", dir, "-d", dir, "-R", dir, "-S", addr)
	if err := os.WriteFile(filepath.Join(dir, "owamp-server.conf"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), env...)
	s := &server{Process: testprog.Start(t, cmd), data: dir}
	s.Await(t, s.Stderr, "listening", func(text string) bool {
		m := regexp.MustCompile(`listening on (\S+)\n`).FindStringSubmatch(text)
		if m != nil {
			s.addr = m[1]
		}
		return m != nil
	})
	return s
}

// short are options of sessions of a second.
var short = []string{"-c", "100", "-i", "0.01", "-L", "0.5"}

// endless are options of a session that no test sees the end of.
var endless = []string{"-c", "6000", "-i", "0.01", "-L", "0.5"}

// newCommand is a powstream that prints what it writes to a directory of its own.
func newCommand(t *testing.T, args ...string) (cmd *exec.Cmd, dir string) {
	t.Helper()
	dir = t.TempDir()
	cmd = exec.Command("powstream", append([]string{"-p", "-d", dir}, args...)...)
	cmd.Env = append(os.Environ(), "OWL_NUMERIC=1")
	return cmd, dir
}

// powstream starts a powstream with the options, and those in more.
func powstream(t *testing.T, options []string, more ...string) (p *testprog.Process, dir string) {
	t.Helper()
	cmd, dir := newCommand(t, slices.Concat(options, more)...)
	return testprog.Start(t, cmd), dir
}

// awaitRecords waits until powstream has recorded packets of a session that it
// has not yet given a name, on disk.
func awaitRecords(t *testing.T, dir string) (path string) {
	t.Helper()
	return awaitFile(t, filepath.Join(dir, ".owl-*.owp.i"))
}

// awaitStored does so for an owampd that receives.
func (s *server) awaitStored(t *testing.T) (path string) {
	t.Helper()
	return awaitFile(t, filepath.Join(s.data, "hierarchy", "*", "*.owp"))
}

func awaitFile(t *testing.T, pattern string) (path string) {
	t.Helper()
	testprog.Until(t, "a file in progress with records", func() error {
		names, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, name := range names {
			info, err := os.Stat(name)
			if err == nil && info.Size() > 4000 {
				path = name
				return nil
			}
		}
		return fmt.Errorf("only %q", names)
	})
	return path
}

// A recording is an .owp file, read.
type recording struct {
	*owp.Header
	records []owamp.Record
}

// checkFile checks that a file that powstream has written is whole, and returns
// what an .owp holds.
func checkFile(t *testing.T, path string) *recording {
	t.Helper()
	if strings.HasSuffix(path, ".sum") {
		text, err := os.ReadFile(path)
		if s := string(text); err != nil || !strings.HasPrefix(s, "SUMMARY\t3.00\n") || !strings.HasSuffix(s, "</NREORDERING>\n") {
			t.Errorf("%s: %v: want a whole summary, not\n%s", path, err, s)
		}
		return nil
	}
	f, err := owp.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := &recording{Header: f.Header()}
	for rec, err := range f.Records() {
		if err != nil {
			t.Fatal(err)
		}
		r.records = append(r.records, rec)
	}
	if len(r.records) == 0 {
		t.Errorf("%s: no records", path)
	}
	return r
}

// files returns the files in dir that have got their names, sorted, and fails
// the test if any file is left in progress.
func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		switch name := e.Name(); {
		case name == ".powlock":
		case strings.HasSuffix(name, ".owp"), strings.HasSuffix(name, ".sum"):
			names = append(names, filepath.Join(dir, name))
		default:
			t.Errorf("%s is left over", name)
		}
	}
	return names
}

// checkPrinted checks that printed are the files in dir, each once, and that
// all are whole. It returns what the .owp files hold, in order.
func checkPrinted(t *testing.T, dir string, printed []string) []*recording {
	t.Helper()
	if got, want := slices.Sorted(slices.Values(printed)), files(t, dir); !slices.Equal(got, want) {
		t.Errorf("printed\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	var all []*recording
	for _, path := range files(t, dir) {
		if r := checkFile(t, path); r != nil {
			all = append(all, r)
		}
	}
	return all
}

// unsynced is the line of a host whose clock nobody synchronizes.
const unsynced = "NTP: Status UNSYNC"

// said returns what powstream has said, but for the line about the clock, and
// without the program's name.
func said(p *testprog.Process) []string {
	var lines []string
	tag := regexp.MustCompile(fmt.Sprintf(`^powstream\[%d\]: `, p.Cmd.Process.Pid))
	for _, l := range p.Stderr.Lines() {
		if l = tag.ReplaceAllString(l, ""); !strings.HasPrefix(l, unsynced) {
			lines = append(lines, l)
		}
	}
	return lines
}

const exiting = "SIGTERM/SIGINT Caught: Exiting."
