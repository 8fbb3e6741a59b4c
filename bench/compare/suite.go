package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"owl/histogram"
	"owl/owamp"
	"owl/owamp/owp"
	"owl/owamp/schedule"
)

// patience bounds the wait for anything that a program is to do beside
// measuring.
const patience = time.Minute

// A suite is a directory with the programs of one suite.
type suite struct{ Name, Dir string }

// A bench is what sections measure with.
type bench struct {
	*options
	owl       suite
	reference *suite // nil: there is none
	scratch   string
	progress  io.Writer
}

// suites returns those that are compared.
func (b *bench) suites() []suite {
	if b.reference == nil {
		return []suite{b.owl}
	}
	return []suite{b.owl, *b.reference}
}

// timeout is that of all sessions, in seconds: as long as a window of 4 million
// packets allows at the highest rate, and some less.
const timeout = "3"

// A user is who may measure in the modes that want one.
const user, passphrase = "compare", "side by side"

// A server is a running owampd, and what its streams need.
type server struct {
	suite
	base string // of its files, and those of streams
	addr string
	cmd  *exec.Cmd
	log  *bytes.Buffer
}

// serve starts the suite's owampd; end ends it.
func (b *bench) serve(ctx context.Context, s suite, options ...string) (*server, error) {
	base, err := os.MkdirTemp(b.scratch, s.Name+"-*")
	if err != nil {
		return nil, err
	}
	for _, d := range []string{"etc", "var", "data"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o777); err != nil {
			return nil, err
		}
	}
	etc := filepath.Join(base, "etc")
	// The store of pass-phrases has them in hexadecimal digits.
	keys := fmt.Sprintf("%s\t%x\n", user, passphrase)
	err = errors.Join(
		os.WriteFile(filepath.Join(etc, "owamp-server.conf"), nil, 0o666),
		os.WriteFile(filepath.Join(etc, "owamp-server.pfs"), []byte(keys), 0o600),
		os.WriteFile(filepath.Join(etc, "owamp-server.limits"), []byte("limit root with disk=0, bandwidth=0, delete_on_fetch=on\nassign default root\n"), 0o666),
	)
	if err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	l.Close()
	args := append(options, "-f", "-Z", "-a", "OE", "-c", etc, "-R", filepath.Join(base, "var"), "-d", filepath.Join(base, "data"), "-S", addr)
	v := &server{suite: s, base: base, addr: addr, log: new(bytes.Buffer), cmd: exec.CommandContext(ctx, filepath.Join(s.Dir, "owampd"), args...)}
	v.cmd.Stderr = v.log
	if err := v.cmd.Start(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			conn.Close()
			return v, nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			v.end()
			return nil, fmt.Errorf("%s: owampd does not answer: %w\n%s", s.Name, err, v.log)
		}
	}
}

func (v *server) end() {
	end(v.cmd)
	// What the reference forks outlives it by a moment, and would be counted
	// among those of the next server.
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if u, err := usageOf(v.Dir); err != nil || u.processes == 0 {
			break
		}
	}
	os.RemoveAll(v.base)
}

// end ends a program, gently at first.
func end(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	kill := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	_ = cmd.Wait()
}

// A stream is a running powstream.
type stream struct {
	cmd   *exec.Cmd
	log   *bytes.Buffer
	files chan string // of sessions, as they are completed
	name  string
}

// stream starts a powstream that measures from the server; end ends it.
func (v *server) stream(ctx context.Context, packets int, rate float64, options ...string) (*stream, error) {
	dir, err := os.MkdirTemp(v.base, "out-*")
	if err != nil {
		return nil, err
	}
	args := append(options, "-p", "-d", dir, "-L", timeout, "-c", fmt.Sprint(packets), "-i", fmt.Sprint(1/rate), v.addr)
	s := &stream{cmd: exec.CommandContext(ctx, filepath.Join(v.Dir, "powstream"), args...), log: new(bytes.Buffer), files: make(chan string, 64), name: v.Name}
	s.cmd.Stderr = s.log
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if name := lines.Text(); strings.HasSuffix(name, ".owp") {
				select {
				case s.files <- name:
				default: // nobody wants that many
				}
			}
		}
		close(s.files)
	}()
	return s, nil
}

func (s *stream) end() { end(s.cmd) }

// session waits for the next session that is complete, which is expected to last
// for length.
func (s *stream) session(ctx context.Context, length time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*length+patience)
	defer cancel()
	select {
	case name, ok := <-s.files:
		if ok {
			return name, nil
		}
		return "", fmt.Errorf("%s: powstream ended without a session\n%s", s.name, s.log)
	case <-ctx.Done():
		return "", fmt.Errorf("%s: powstream has no session: %w", s.name, ctx.Err())
	}
}

// A packets is what a file says of the packets of a session.
type packets struct {
	delays histogram.Live // ns
	slips  histogram.Live // ns after the scheduled time
	sent   uint64
	lost   uint64
}

// read reads the file of a session.
func read(name string) (*packets, error) {
	r, err := owp.Open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	spec := r.Header().Spec
	generator, err := schedule.New(spec.SID, spec.Slots)
	if err != nil {
		return nil, err
	}
	due := make([]owamp.Timestamp, spec.Packets)
	for i, at := 0, spec.Start; i < len(due); i++ {
		at = at.Add(generator.Next())
		due[i] = at
	}
	p := new(packets)
	for _, skip := range r.Skips() {
		for seq := int(skip.First); seq <= int(skip.Last) && seq < len(due); seq++ {
			due[seq] = 0 // its sender has not sent it
		}
	}
	for rec, err := range r.Records() {
		switch {
		case err != nil:
			return nil, err
		case int(rec.Seq) >= len(due):
			return nil, fmt.Errorf("%s: packet %d of %d", name, rec.Seq, len(due))
		case due[rec.Seq] == 0:
		case rec.Lost():
			p.lost++
		default:
			p.delays.Insert(int64(rec.Recv.Sub(rec.Sent)))
			p.slips.Insert(int64(rec.Sent.Sub(due[rec.Seq])))
		}
	}
	p.sent = p.lost + p.delays.Count()
	return p, nil
}
