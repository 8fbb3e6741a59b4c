package dest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"owl/archive"
	"owl/archive/dest/internal/pool"
	"owl/archive/iso8601"
	"owl/archive/member"
)

const (
	pluginTimeout  = 2 * time.Minute  // of one result
	checkTimeout   = 10 * time.Second // of looking at data
	pluginItems    = 10000            // that one process gets
	pluginLife     = 10 * time.Minute // of a process
	mostProcesses  = 25               // as pScheduler has for each archiver
	pluginTries    = 3                // with a process each, if they crash
	longestAnswer  = 1 << 20          // octets
	longestRequest = 64 << 20         // octets
)

// An execDestination gives results to an archiver plugin of pScheduler: plugin is
// the folder that holds its programs, data is what the plugin gets as its data.
// The program archive gets one result after the other, 0x1E and JSON in one line,
// and so it answers (RFC 7464); after ten minutes or 10,000 results a new process
// takes its place. There are as many at once as processes says, one without it,
// and so results arrive in their order. The program data-is-valid, if there is
// one, is asked about the data when the destination is opened.
//
// A result is delivered when the plugin has said so. A failure is tried again when
// the plugin wants it, and else it is final. A plugin that crashes on a result
// gets it three times, and then it is final, too. The plugin sees no ID but that
// in the result and its run-href.
type execDestination struct {
	program string
	data    json.RawMessage
	timeout time.Duration
	pool    *pool.Pool[*plugin]
}

func openExec(o *member.Object, _ *archive.Spec) (archive.Opened, error) {
	o.Schema(1)
	o.Need("plugin", "data")
	d := &execDestination{timeout: o.Duration("timeout", pluginTimeout)}
	d.pool = &pool.Pool[*plugin]{
		Dial:   func(context.Context) (*plugin, error) { return startPlugin(d.program) },
		Alive:  func(context.Context, *plugin) bool { return true }, // or else it is found out
		Hangup: (*plugin).stop,
		Life:   pluginLife,
	}
	processes := int(o.Int("processes", 1, mostProcesses, 1))
	if o.Has("timeout") && d.timeout < time.Millisecond {
		o.Fail("timeout", "want at least a millisecond")
	}
	dir := o.Text("plugin")
	if dir != "" && !filepath.IsAbs(dir) {
		o.Fail("plugin", "%q: want a folder whose name begins with /", dir)
	}
	data := o.Any("data")
	if o.Err() != nil {
		return archive.Opened{}, o.Err()
	}
	var err error
	if d.data, err = json.Marshal(data); err != nil {
		return archive.Opened{}, fmt.Errorf("%s: %w", o.Path("data"), err)
	}
	d.program = filepath.Join(dir, "archive")
	if _, err := exec.LookPath(d.program); err != nil {
		o.Fail("plugin", "%v: want the folder of an archiver plugin", err)
	} else if err := checkData(filepath.Join(dir, "data-is-valid"), d.data); err != nil {
		o.Fail("data", "%v", err)
	}
	return archive.Opened{Destination: d, Parallel: processes}, nil
}

// checkData asks a plugin what it thinks of its data.
func checkData(program string, data []byte) error {
	if _, err := os.Stat(program); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	cmd.Stdin = bytes.NewReader(data)
	answer, said := &bounded{most: longestAnswer}, &bounded{most: toldStderr}
	cmd.Stdout, cmd.Stderr = answer, said
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { killGroup(cmd); return nil }
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, said.told())
	}
	var verdict struct {
		Valid *bool
		Error string
	}
	if err := json.Unmarshal(answer.Bytes(), &verdict); err != nil || verdict.Valid == nil {
		return fmt.Errorf("%s: its answer is no verdict on the data", program)
	}
	if !*verdict.Valid {
		return fmt.Errorf("the plugin says: %s", short(verdict.Error))
	}
	return nil
}

// A request is what a plugin gets.
type request struct {
	Data        json.RawMessage `json:"data"`
	TaskHref    *string         `json:"task-href"`
	RunHref     *string         `json:"run-href"`
	Result      json.RawMessage `json:"result"`
	Attempts    int64           `json:"attempts"` // made before
	LastAttempt *time.Time      `json:"last-attempt"`
}

func (d *execDestination) Deliver(ctx context.Context, item *archive.Item) error {
	r := request{Data: d.data, Result: item.Payload, Attempts: item.Tries}
	if item.TaskHref != "" {
		r.TaskHref = &item.TaskHref
	}
	if item.RunHref != "" {
		r.RunHref = &item.RunHref
	}
	if !item.Last.IsZero() {
		last := item.Last.UTC().Truncate(time.Second)
		r.LastAttempt = &last
	}
	text, err := json.Marshal(r)
	if err != nil {
		return archive.Final(err)
	}
	if len(text) > longestRequest {
		return archive.Final(fmt.Errorf("the result has %d octets: want at most %d", len(text), longestRequest))
	}
	answer, err := d.ask(ctx, text)
	if err != nil {
		return err
	}
	return verdict(answer)
}

// errGarbage is an answer that is none.
var errGarbage = errors.New("the answer is no record of JSON")

// ask gives a request to a plugin, and returns its answer.
func (d *execDestination) ask(ctx context.Context, text []byte) (answer []byte, err error) {
	for range pluginTries {
		started := false
		err = d.pool.Use(ctx, func(p *plugin) (again bool, err error) {
			started = true
			answer, err = p.ask(ctx, d.timeout, text)
			return err == nil && p.items < pluginItems, err
		})
		switch {
		case err == nil:
			return answer, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case !started: // the host is short of something: that passes
			return nil, err
		case errors.Is(err, errGarbage):
			return nil, archive.Final(err)
		case errors.Is(err, context.DeadlineExceeded):
			return nil, err
		}
	}
	return nil, archive.Final(fmt.Errorf("possibly-permanent archiver error: %w", err))
}

func (d *execDestination) Close() error {
	d.pool.Close()
	return nil
}

// verdict returns what an answer means.
func verdict(answer []byte) error {
	var a struct {
		Succeeded *bool
		Error     any
		Retry     *string
	}
	if err := json.Unmarshal(answer, &a); err != nil || a.Succeeded == nil {
		return archive.Final(errors.New("the plugin's answer does not say whether it has succeeded"))
	}
	if *a.Succeeded {
		return nil
	}
	why := errors.New("the plugin does not say why it has failed")
	if s, ok := a.Error.(string); ok && strings.TrimSpace(s) != "" {
		why = errors.New(short(s))
	}
	if a.Retry == nil {
		return archive.Final(why)
	}
	after, err := iso8601.ParseDuration(*a.Retry)
	if err != nil {
		return archive.Final(fmt.Errorf("%w (retry: %w)", why, err))
	}
	return &archive.AgainError{Err: why, After: after}
}
