package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"owl/archive/queue"
	"owl/archive/retry"
	"owl/archive/transform"
)

const (
	// deliveryTimeout bounds one try, whatever bounds a destination has itself.
	deliveryTimeout = 2 * time.Minute
	// longestPause bounds how long a destination is left alone that fails: one
	// try is cheap, and it may be back any time.
	longestPause = time.Minute
	// longestWait bounds a wait between two tries, whoever wants it.
	longestWait = 365 * 24 * time.Hour
	// stopTimeout bounds how long is waited for a destination that is to stop.
	stopTimeout = 2 * time.Second
)

// An outlet is a destination that results are brought to.
type outlet struct {
	Opened
	cfg  *DispatcherConfig
	spec *Spec
	name string
	line *queue.Line

	life    context.Context // of deliveries
	kill    context.CancelFunc
	looking context.Context // of waiting for results
	stop    context.CancelFunc
	workers sync.WaitGroup

	mu     sync.Mutex
	failed [2]string // the first two results whose tries have failed since one was delivered
	since  time.Time // when the first try failed since one did not
	last   string    // why the last one has
	waits  int64     // how often the outlet has paused since
	resume time.Time // it pauses until then

	retried, buried, expired, unread ration
}

// begin begins to bring what line has.
func (o *outlet) begin(line *queue.Line) {
	o.line, o.name = line, line.Name()
	o.life, o.kill = context.WithCancel(context.Background())
	o.looking, o.stop = context.WithCancel(o.life)
	for range max(o.Parallel, 1) {
		o.workers.Go(o.work)
	}
}

// end ends an outlet at once: what is on its way is given up, and tried again if
// the destination comes back.
func (o *outlet) end() {
	o.kill()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		o.workers.Wait()
		if err := o.Close(); err != nil {
			o.cfg.Log.Warn("closing a destination", "destination", o.name, "error", err)
		}
	}()
	select {
	case <-ended:
	case <-time.After(stopTimeout):
		o.cfg.Log.Error("a destination does not stop, and is left behind", "destination", o.name)
	}
}

// drain delivers what is due, until ctx is done, and ends the outlet.
func (o *outlet) drain(ctx context.Context) {
	o.stop()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		o.workers.Wait()
	}()
	select {
	case <-drained:
	case <-ctx.Done():
	}
	o.end()
}

// work brings results to the destination until the outlet is to stop, and then
// those that are due.
func (o *outlet) work() {
	for o.pause(); o.looking.Err() == nil; o.pause() {
		e, err := o.line.Next(o.looking)
		switch {
		case err == nil:
			o.bring(e)
		case o.looking.Err() != nil:
		case errors.Is(err, queue.ErrClosed) || errors.Is(err, queue.ErrUnused):
			return
		default:
			if told, _ := o.unread.take(o.cfg.Now()); told {
				o.cfg.Log.Error("the queue cannot be read, and is tried again", "destination", o.name, "error", err)
			}
			o.rest(time.Second)
		}
	}
	o.empty()
}

// empty brings the results to the destination that are due.
func (o *outlet) empty() {
	for o.life.Err() == nil && o.pausing() <= 0 {
		e, err := o.line.TryNext()
		if e == nil || err != nil {
			return
		}
		o.bring(e)
	}
}

// rest waits for d, or until the outlet is to stop.
func (o *outlet) rest(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-o.looking.Done():
	}
}

// pause waits while the destination is left alone.
func (o *outlet) pause() {
	if left := o.pausing(); left > 0 {
		o.rest(left)
	}
}

// pausing returns for how much longer the destination is left alone.
func (o *outlet) pausing() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	// A clock that was set back does not make it longer.
	return min(o.resume.Sub(o.cfg.Now()), longestPause)
}

// bring brings one result to the destination, and notes what became of it.
func (o *outlet) bring(e *queue.Entry) {
	var expiry time.Time
	if o.spec.TTL > 0 {
		if expiry = e.Arrived.Add(o.spec.TTL); !o.cfg.Now().Before(expiry) {
			o.tell(&o.expired, slog.LevelWarn, "a result was dropped: its time to live is over", e)
			e.Expired()
			return
		}
	}
	err := o.try(e)
	switch {
	case err == nil:
		e.Delivered()
		o.succeeded()
	case errors.Is(err, transform.ErrDiscarded):
		e.Discarded()
	case o.life.Err() != nil:
		e.Return()
	case IsFinal(err):
		o.bury(e, err)
	default:
		o.again(e, err, expiry)
	}
}

// try is one try.
func (o *outlet) try(e *queue.Entry) error {
	ctx, cancel := context.WithTimeout(o.life, deliveryTimeout)
	defer cancel()
	return deliver(ctx, o.Destination, o.spec, e.Result, e.Tries, e.Last)
}

// deliver brings a result to a destination as its specification says. It returns
// [transform.ErrDiscarded] if the specification does not want it there.
func deliver(ctx context.Context, to Destination, s *Spec, r *queue.Result, tries int64, last time.Time) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the destination panicked: %v", p)
		}
	}()
	if !s.Runs.Wants(r.Succeeded) {
		return transform.ErrDiscarded
	}
	item := Item{ID: r.ID, Payload: r.Body, TaskHref: s.href(r.TaskHref), RunHref: s.href(r.RunHref), Tries: tries, Last: last}
	// The document has them, too. That of the run begins as that of the task does.
	if item.TaskHref != r.TaskHref {
		item.Payload = bytes.ReplaceAll(r.Body, []byte(`"`+r.TaskHref), []byte(`"`+item.TaskHref))
	}
	if s.Transform != nil {
		item.Payload, err = s.Transform.Apply(ctx, item.Payload)
		switch {
		case err == nil:
		case errors.Is(err, transform.ErrDiscarded):
			return err
		case ctx.Err() != nil: // the script may be right
			return err
		default:
			return Final(err)
		}
	}
	return to.Deliver(ctx, &item)
}

// href returns an address as the destination is to have it.
func (s *Spec) href(href string) string {
	if s.URIHost == "" {
		return href
	}
	u, err := url.Parse(href)
	if err != nil || u.Host == "" {
		return href
	}
	u.Host = s.URIHost
	return u.String()
}

// Try opens a destination, brings one result to it past any queue, and closes it.
// It returns nil if the destination has it, and [transform.ErrDiscarded] if the
// specification does not want it there.
func Try(ctx context.Context, open Opener, s *Spec, r *queue.Result) error {
	o, err := open(s)
	if err != nil {
		return err
	}
	return errors.Join(deliver(ctx, o.Destination, s, r, 0, time.Time{}), o.Close())
}

// bury gives a result up.
func (o *outlet) bury(e *queue.Entry, why error) {
	o.tell(&o.buried, slog.LevelError, "a result was not delivered, and is not tried again", e, "error", why)
	e.Bury(why.Error())
}

// again notes that a try has failed, and when the next is to be.
func (o *outlet) again(e *queue.Entry, why error, expiry time.Time) {
	now := o.cfg.Now()
	var wait time.Duration
	ok := true
	again, hasTime := errors.AsType[*AgainError](why)
	switch {
	case hasTime:
		wait = max(again.After, 0)
	case o.Retry != nil:
		wait, ok = o.Retry.Wait(e.Tries + 1)
	default:
		wait = retry.Grow(e.Tries+1, o.cfg.Random())
	}
	o.failing(e.ID, why, now, o.Retry == nil && !hasTime)
	if !ok {
		o.bury(e, why)
		return
	}
	next := now.Add(min(wait, longestWait))
	if !expiry.IsZero() && next.After(expiry) {
		next = expiry
	}
	o.tell(&o.retried, slog.LevelWarn, "a result was not delivered, and is tried again", e, "wait", next.Sub(now).Round(time.Millisecond), "error", why)
	e.Again(next, why.Error())
}

// tell logs what became of a result, unless it did so just before.
func (o *outlet) tell(r *ration, level slog.Level, what string, e *queue.Entry, more ...any) {
	told, untold := r.take(o.cfg.Now())
	if !told {
		level = slog.LevelDebug
	}
	attrs := append([]any{"destination", o.name, "result", e.ID, "tries", e.Tries + 1}, more...)
	if untold > 0 {
		attrs = append(attrs, "others", untold)
	}
	o.cfg.Log.Log(context.Background(), level, what, attrs...)
}

// failing notes that a try has failed. When those of two results have, and there
// is no policy, it is the destination that fails, not a result, and it is left
// alone for a while that grows.
func (o *outlet) failing(id string, why error, now time.Time, pause bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() {
		o.since = now
	}
	o.last = why.Error()
	switch {
	case o.failed[0] == "":
		o.failed[0] = id
	case o.failed[0] != id:
		o.failed[1] = id
	}
	if pause && o.failed[1] != "" && !now.Before(o.resume) {
		o.waits++
		o.resume = now.Add(min(retry.Grow(o.waits, o.cfg.Random()), longestPause))
	}
}

// succeeded notes that a result was delivered. If the destination had failed,
// what failed with it is tried again at once.
func (o *outlet) succeeded() {
	o.mu.Lock()
	since, outage := o.since, o.waits > 0
	o.failed, o.since, o.last, o.waits, o.resume = [2]string{}, time.Time{}, "", 0, time.Time{}
	o.mu.Unlock()
	if !outage {
		return
	}
	o.cfg.Log.Info("the destination has results again", "destination", o.name, "after", o.cfg.Now().Sub(since).Round(time.Second))
	if err := o.line.Hasten(o.life, since); err != nil && o.life.Err() == nil {
		o.cfg.Log.Warn("what has failed is tried again as planned, not at once", "destination", o.name, "error", err)
	}
}

func (o *outlet) status() Status {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := Status{Name: o.name, Spec: o.spec, Since: o.since, Error: o.last}
	if o.cfg.Now().Before(o.resume) {
		s.Resuming = o.resume
	}
	return s
}

// rationed is how often a thing of a kind is told of.
const rationed = 10 * time.Second

// A ration keeps the log readable when thousands of results fail.
type ration struct {
	mu     sync.Mutex
	next   time.Time
	untold int
}

// take reports whether there may be a line now, and if so how many there were not
// since the last.
func (r *ration) take(now time.Time) (ok bool, untold int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Before(r.next) && r.next.Sub(now) <= rationed {
		r.untold++
		return false, 0
	}
	untold, r.untold = r.untold, 0
	r.next = now.Add(rationed)
	return true, untold
}
