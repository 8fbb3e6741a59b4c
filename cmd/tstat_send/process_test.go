package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/internal/testprog"
)

// asProgram is set in the environment of what is to be the program, not a test.
const asProgram = "OWL_TEST_TSTAT_SEND"

func TestMain(m *testing.M) {
	switch os.Getenv(asProgram) {
	case "1":
		main()
	case tellsPeak:
		os.Exit(runTellingPeak())
	}
	os.Exit(m.Run())
}

// start starts the program as a process.
func (p *place) start(t *testing.T, line string, env ...string) *testprog.Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, p.args(line)[1:]...)
	cmd.Env = append(append(os.Environ(), asProgram+"=1"), env...)
	return testprog.Start(t, cmd)
}

// A site is a web server that keeps what it is sent.
type site struct {
	*httptest.Server
	asked  chan struct{} // of each request
	answer chan int      // the status of each

	mu     sync.Mutex
	bodies []string // of those with status 200
}

func newSite(t *testing.T) *site {
	s := &site{asked: make(chan struct{}), answer: make(chan int)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		select {
		case s.asked <- struct{}{}:
		case <-r.Context().Done():
			return
		}
		select {
		case status := <-s.answer:
			if status == http.StatusOK {
				s.mu.Lock()
				s.bodies = append(s.bodies, string(body))
				s.mu.Unlock()
			}
			w.WriteHeader(status)
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(s.CloseClientConnections)
	return s
}

// serve answers requests until the process ends, and returns how many.
func (s *site) serve(p *testprog.Process) (n int) {
	for {
		select {
		case <-s.asked:
			n++
			s.answer <- http.StatusOK
		case <-p.Ended():
			return n
		}
	}
}

// flows returns how many objects have come.
func (s *site) flows(t *testing.T) (n int) {
	t.Helper()
	for _, b := range s.bodies {
		var all []json.RawMessage
		if err := json.Unmarshal([]byte(b), &all); err != nil {
			t.Fatal(err)
		}
		n += len(all)
	}
	return n
}

// What the signals do: SIGINT ends the run behind a directory, with success, and
// SIGTERM behind a slice, with the rest for the next run.
func TestSignals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		signal   syscall.Signal
		requests int // that come behind the first, of the long directory
		code     int
		marks    string
	}{
		{syscall.SIGINT, 2, ok, small + "/.processed " + long + "/.processed"},
		{syscall.SIGTERM, 0, failure, small + "/.processed " + long + "/.processing"},
	} {
		s := newSite(t)
		p := newPlace(t, "[http]\n_url = "+s.URL+"\n")
		process := p.start(t, "-d w -c c.ini -t http -T 0")
		<-s.asked
		s.answer <- http.StatusOK
		<-s.asked // the first of the long directory
		process.Signal(c.signal)
		if c.signal == syscall.SIGINT {
			process.AwaitText(t, process.Stderr, "interrupted: ending behind this directory", 1)
		} else {
			process.AwaitText(t, process.Stderr, "ending behind this slice", 1)
		}
		s.answer <- http.StatusOK
		if n := s.serve(process); n != c.requests {
			t.Errorf("%v: %d more requests, want %d", c.signal, n, c.requests)
		}
		if code := process.ExitCode(t); code != c.code {
			t.Errorf("%v: exit code %d, want %d", c.signal, code, c.code)
		}
		if d := cmp.Diff(c.marks, p.hidden(t)); d != "" {
			t.Errorf("%v (-want +got):\n%s", c.signal, d)
		}
		rest := p.start(t, "-d w -c c.ini -t http -T 0")
		s.serve(rest)
		if code := rest.ExitCode(t); code != ok {
			t.Errorf("the rest: exit code %d", code)
		}
		if n := s.flows(t); n != 266 {
			t.Errorf("%v: %d flows, want 266", c.signal, n)
		}
	}
}

// A run that finds another one at a directory leaves that out.
func TestTwoRuns(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := newPlace(t, "[http]\n_url = "+s.URL+"\n")
	first := p.start(t, "-d w -c c.ini -t http -T 0")
	<-s.asked
	second := p.start(t, "-d w -c c.ini -t http -T 0")
	second.AwaitText(t, second.Stderr, "left out: another tstat_send is at it", 1)
	s.answer <- http.StatusOK
	s.serve(first)
	s.serve(second)
	for _, process := range []*testprog.Process{first, second} {
		if code := process.ExitCode(t); code != ok {
			t.Errorf("exit code %d", code)
		}
	}
	if n := s.flows(t); n != 266 {
		t.Errorf("%d flows, want 266", n)
	}
}

// An archiver gets each slice in one line, and a failure is told in one line.
func TestArchivers(t *testing.T) {
	t.Parallel()
	p := newPlace(t, "", small)
	out := filepath.Join(p.dir, "flows")
	spec := filepath.Join(p.dir, "spec.json")
	text := `{"archiver": "file", "data": {"path": "` + out + `"}, "transform": {"script": ".[].meta.sensor_id"}}`
	if err := os.WriteFile(spec, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for i, config := range []string{"[file]\npath = " + out + "\n", "[file]\nspec = @" + spec + "\n"} {
		p.configure(t, config)
		args := "-d w -c c.ini --transport file -T 1000 -S sensor.example"
		if i == 1 {
			os.Remove(filepath.Join(p.dir, "w", small, ".processed"))
		}
		p.succeeds(t, args)
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(got), "\n"), "\n")
	var flows []struct {
		Values struct {
			Bits int64 `json:"num_bits"`
		} `json:"values"`
	}
	if err := json.Unmarshal([]byte(lines[0]), &flows); err != nil || len(flows) != 4 || flows[0].Values.Bits != 8_000_000_000 {
		t.Errorf("%v, %+v", err, flows)
	}
	if len(lines) < 2 || !strings.Contains(lines[1], "sensor.example") {
		t.Errorf("%q", lines[1:])
	}

	s := newSite(t)
	p = newPlace(t, "[http]\n_url = "+s.URL+"\n", long)
	process := p.start(t, "-d w -c c.ini -t http -T 0")
	<-s.asked
	s.answer <- http.StatusOK
	<-s.asked
	s.answer <- http.StatusServiceUnavailable
	if code := process.ExitCode(t); code != failure {
		t.Errorf("exit code %d", code)
	}
	all := process.Stderr.Lines()
	if last := all[len(all)-1]; !strings.HasPrefix(last, "tstat_send: "+filepath.Join(p.dir, "w", long)+": ") || !strings.Contains(last, "503") {
		t.Errorf("%q", last)
	}
	if marks := p.hidden(t); marks != long+"/.processing" {
		t.Errorf("there is %s", marks)
	}
}
