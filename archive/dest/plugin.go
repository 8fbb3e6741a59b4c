package dest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"owl/archive/dest/dial"
)

const (
	recordMark = 0x1E            // before a record (RFC 7464)
	toldStderr = 2 << 10         // octets of what a plugin says besides
	stopWait   = 2 * time.Second // for a plugin to end by itself
)

// A plugin is a process that is given requests, one after the other.
type plugin struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr *bounded
	items  int // that it was given

	stopped sync.Once
}

func startPlugin(program string) (*plugin, error) {
	p := &plugin{cmd: exec.Command(program), stderr: &bounded{most: toldStderr}}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Stderr = p.stderr
	p.cmd.WaitDelay = stopWait
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		stdin.Close()
		return nil, err
	}
	p.stdin, p.stdout = stdin, bufio.NewReader(stdout)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

// kill ends the process and what it has started.
func (p *plugin) kill() { killGroup(p.cmd) }

// killGroup ends a process that has begun a group, and the rest of the group.
func killGroup(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

// ask writes a request and reads the answer. After an error the process has
// ended.
func (p *plugin) ask(ctx context.Context, timeout time.Duration, text []byte) ([]byte, error) {
	p.items++
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer context.AfterFunc(ctx, p.kill)()
	// A plugin may answer before it has read everything.
	written := make(chan error, 1)
	go func() {
		_, err := p.stdin.Write(append(append([]byte{recordMark}, text...), '\n'))
		written <- err
	}()
	answer, err := readRecord(p.stdout)
	if err != nil {
		p.kill() // it need not have ended
	}
	if werr := <-written; err == nil {
		err = werr
	}
	if err == nil {
		return answer, nil
	}
	late := ctx.Err()
	p.stop()
	if late != nil {
		err = fmt.Errorf("the plugin has not answered within %v: %w", timeout, late)
	}
	if said := p.stderr.told(); said != "" {
		err = fmt.Errorf("%w; it says: %s", err, said)
	}
	return nil, err
}

// readRecord reads a record: JSON in one line, with a mark before it.
func readRecord(r *bufio.Reader) ([]byte, error) {
	first, err := r.ReadByte()
	if err != nil {
		return nil, ended(err)
	}
	if first != recordMark {
		return nil, errGarbage
	}
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > longestAnswer {
			return nil, fmt.Errorf("%w: it is longer than %d octets", errGarbage, longestAnswer)
		}
		line = append(line, part...)
		switch {
		case err == nil && json.Valid(line):
			return line, nil
		case err == nil:
			return nil, errGarbage
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, ended(err)
		}
	}
}

// ended says of an error in reading that the plugin has ended.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the plugin has ended without an answer")
	}
	return err
}

// stop ends the process: its input, and what does not end then is killed.
func (p *plugin) stop() {
	p.stopped.Do(func() {
		p.stdin.Close()
		timer := time.AfterFunc(stopWait, p.kill)
		defer timer.Stop()
		_ = p.cmd.Wait() // how it ended does not matter any more
		p.kill()         // what it has started and left
	})
}

// A bounded buffer keeps the last octets that are written to it.
type bounded struct {
	most int
	mu   sync.Mutex
	buf  []byte
}

func (b *bounded) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = append(b.buf, p[max(len(p)-b.most, 0):]...)
	b.buf = b.buf[max(len(b.buf)-b.most, 0):]
	return len(p), nil
}

// Bytes returns what was kept.
func (b *bounded) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.buf)
}

// told returns what was kept in one line, as errors tell of it.
func (b *bounded) told() string { return short(string(b.Bytes())) }

func short(s string) string { return dial.Short([]byte(s)) }
