package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"owl/archive/queue"
	"owl/archive/retry"
	"owl/archive/transform"
)

// deliveryTimeout bounds one try, whatever bounds a destination has itself.
const deliveryTimeout = 2 * time.Minute

// DispatcherConfig describes a [Dispatcher]. Queue, Open and Log are needed.
type DispatcherConfig struct {
	Queue *queue.Queue
	Open  Opener
	Log   *slog.Logger
	// Delivered is told how long after its coming a result was delivered. It may
	// be called by many goroutines at once. May be nil.
	Delivered func(destination string, took time.Duration)
	Now       func() time.Time // nil: the host's clock
	Random    func() float64   // in [0, 1); nil: [retry.Jitter]
}

// A Dispatcher brings what is queued to where it is wanted. Each destination has
// goroutines of its own, so that one which hangs does not keep others waiting.
type Dispatcher struct {
	cfg DispatcherConfig

	mu      sync.Mutex
	outlets map[string]*outlet // by key
	closed  bool
}

// NewDispatcher returns a dispatcher without destinations.
func NewDispatcher(cfg DispatcherConfig) *Dispatcher {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Random == nil {
		cfg.Random = retry.Jitter
	}
	return &Dispatcher{cfg: cfg, outlets: make(map[string]*outlet)}
}

// Set says where results go from now on. If anything is wrong with any of the
// specifications, nothing has changed. Destinations that stay go on undisturbed.
func (d *Dispatcher) Set(ctx context.Context, specs []*Spec) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errors.New("archiving has ended")
	}
	names := make(map[string]string)
	fresh := make(map[string]*outlet)
	var errs []error
	for i, s := range specs {
		key := s.Key()
		if _, twice := names[key]; twice {
			errs = append(errs, fmt.Errorf("archive %d, %s: want it once, it is there already", i, s.Name()))
			continue
		}
		names[key] = uniqueName(s.Name(), names)
		if old := d.outlets[key]; old != nil && old.spec.equal(s) {
			continue
		}
		opened, err := d.cfg.Open(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("archive %d, %s: %w", i, s.Name(), err))
			continue
		}
		fresh[key] = &outlet{cfg: &d.cfg, Opened: opened, spec: s, name: names[key]}
	}
	err := errors.Join(errs...)
	var lines map[string]*queue.Line
	if err == nil {
		lines, err = d.cfg.Queue.Use(ctx, names)
	}
	if err != nil {
		for _, o := range fresh {
			err = errors.Join(err, o.Close())
		}
		return err
	}
	for key, o := range d.outlets {
		if _, stays := names[key]; !stays || fresh[key] != nil {
			o.end()
			delete(d.outlets, key)
		}
	}
	for key, o := range fresh {
		o.line = lines[key]
		d.outlets[key] = o
		o.begin()
	}
	return nil
}

// uniqueName returns name, or name with a number if others have it.
func uniqueName(name string, taken map[string]string) string {
	unique := name
	for n := 2; ; n++ {
		if !slices.Contains(slices.Collect(maps.Values(taken)), unique) {
			return unique
		}
		unique = fmt.Sprintf("%s %d", name, n)
	}
}

// Close ends the dispatching. Before it does, it delivers what is due, until ctx
// is done; the rest stays in the queue.
func (d *Dispatcher) Close(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	var drained sync.WaitGroup
	for key, o := range d.outlets {
		drained.Go(func() { o.drain(ctx) })
		delete(d.outlets, key)
	}
	drained.Wait()
}

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

	mu      sync.Mutex
	failed  map[string]bool // the results whose tries have failed since one succeeded
	since   time.Time       // when the first of those did
	waits   int64           // how often the outlet has paused since
	resume  time.Time       // it pauses until then
	told    bool            // that it fails
	skipped uint64          // errors that were not told of
}

func (o *outlet) begin() {
	o.life, o.kill = context.WithCancel(context.Background())
	o.looking, o.stop = context.WithCancel(o.life)
	o.failed = make(map[string]bool)
	for range max(o.Parallel, 1) {
		o.workers.Go(o.work)
	}
}

// end ends an outlet at once: what is on its way is given up, and tried again if
// the destination comes back.
func (o *outlet) end() {
	o.kill()
	o.workers.Wait()
	if err := o.Close(); err != nil {
		o.cfg.Log.Warn("closing a destination", "destination", o.name, "error", err)
	}
}

// drain delivers what is due, until ctx is done, and ends the outlet.
func (o *outlet) drain(ctx context.Context) {
	defer o.end()
	over := context.AfterFunc(ctx, o.kill)
	defer over()
	o.stop()
	o.workers.Wait()
}

// work brings results to the destination until the outlet is to stop, and then
// those that are due.
func (o *outlet) work() {
	for {
		o.pause()
		e, err := o.line.Next(o.looking)
		if err != nil {
			if o.looking.Err() == nil && !errors.Is(err, queue.ErrClosed) && !errors.Is(err, queue.ErrUnused) {
				o.cfg.Log.Error("the queue cannot be read", "destination", o.name, "error", err)
				o.rest(o.looking, time.Second)
				continue
			}
			break
		}
		o.bring(e)
	}
	for o.life.Err() == nil && !o.paused() {
		e, err := o.line.TryNext(o.life)
		if e == nil || err != nil {
			return
		}
		o.bring(e)
	}
}

// rest waits for d, or until ctx is done.
func (o *outlet) rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// pause waits while the destination is left alone.
func (o *outlet) pause() {
	o.mu.Lock()
	left := o.resume.Sub(o.cfg.Now())
	o.mu.Unlock()
	if left > 0 {
		o.rest(o.looking, left)
	}
}

func (o *outlet) paused() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.cfg.Now().Before(o.resume)
}

// bring brings one result to the destination, and notes what became of it.
func (o *outlet) bring(e *queue.Entry) {
	var expiry time.Time
	if o.spec.TTL > 0 {
		if expiry = e.Arrived.Add(o.spec.TTL); !o.cfg.Now().Before(expiry) {
			o.cfg.Log.Warn("a result was dropped: its time to live is over", "destination", o.name, "result", e.ID, "tries", e.Tries)
			e.Expired()
			return
		}
	}
	if !o.spec.Runs.Wants(e.Succeeded) {
		e.Discarded()
		return
	}
	payload := e.Body
	if t := o.spec.Transform; t != nil {
		var err error
		payload, err = t.Apply(o.life, e.Body)
		switch {
		case errors.Is(err, transform.ErrDiscarded):
			e.Discarded()
			return
		case o.life.Err() != nil:
			return // it is tried again
		case err != nil:
			o.bury(e, err)
			return
		}
	}
	err := o.deliver(&Item{ID: e.ID, Payload: payload, TaskHref: e.TaskHref, RunHref: e.RunHref, Tries: e.Tries, Last: e.Last})
	switch {
	case err == nil:
		e.Delivered()
		o.succeeded()
		if o.cfg.Delivered != nil {
			o.cfg.Delivered(o.name, o.cfg.Now().Sub(e.Arrived))
		}
	case o.life.Err() != nil: // given up
	case IsFinal(err):
		o.bury(e, err)
	default:
		o.again(e, err, expiry)
	}
}

// deliver is one try.
func (o *outlet) deliver(item *Item) (err error) {
	ctx, cancel := context.WithTimeout(o.life, deliveryTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the destination panicked: %v", p)
		}
	}()
	return o.Deliver(ctx, item)
}

// bury gives a result up.
func (o *outlet) bury(e *queue.Entry, why error) {
	o.cfg.Log.Error("a result was not delivered, and is not tried again", "destination", o.name, "result", e.ID, "tries", e.Tries+1, "error", why)
	o.keep(e.Bury(o.life, why.Error()))
}

// keep tells that the queue could not take note of something.
func (o *outlet) keep(err error) {
	if err != nil && o.life.Err() == nil {
		o.cfg.Log.Error("what became of a result could not be kept: it is tried again after the next start", "destination", o.name, "error", err)
	}
}

// again notes that a try has failed, and when the next is to be.
func (o *outlet) again(e *queue.Entry, why error, expiry time.Time) {
	now := o.cfg.Now()
	wait, ok := time.Duration(0), true
	again, hasTime := errors.AsType[*AgainError](why)
	switch {
	case hasTime:
		wait = again.After
	case o.Retry != nil:
		wait, ok = o.Retry.Wait(e.Tries + 1)
	default:
		wait = retry.Grow(e.Tries+1, o.cfg.Random())
		o.failing(e.ID, now)
	}
	if !ok {
		o.bury(e, why)
		return
	}
	next := now.Add(wait)
	if !expiry.IsZero() && next.After(expiry) {
		next = expiry
	}
	o.tell(e, why, wait)
	o.keep(e.Again(o.life, next, why.Error()))
}

// tell logs the first failure after a success.
func (o *outlet) tell(e *queue.Entry, why error, wait time.Duration) {
	o.mu.Lock()
	told := o.told
	o.told = true
	if told {
		o.skipped++
	}
	o.mu.Unlock()
	level := slog.LevelWarn
	if told {
		level = slog.LevelDebug
	}
	o.cfg.Log.Log(context.Background(), level, "a result was not delivered, and is tried again", "destination", o.name, "result", e.ID, "tries", e.Tries+1, "wait", wait.Round(time.Millisecond), "error", why)
}

// failing notes that a result of a destination without a policy has failed. When
// two have, one after the other, it is the destination that fails, not a result,
// and it is left alone for a while that grows.
func (o *outlet) failing(id string, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.failed) == 0 {
		o.since = now
	}
	if len(o.failed) < 2 {
		o.failed[id] = true
	}
	if len(o.failed) > 1 && !now.Before(o.resume) {
		o.waits++
		o.resume = now.Add(retry.Grow(o.waits, o.cfg.Random()))
	}
}

// succeeded notes that a result was delivered. If the destination had failed,
// what failed with it is tried again at once.
func (o *outlet) succeeded() {
	o.mu.Lock()
	since, outage := o.since, len(o.failed) > 1
	told, skipped := o.told, o.skipped
	if len(o.failed) > 0 {
		clear(o.failed)
	}
	o.waits, o.resume, o.told, o.skipped = 0, time.Time{}, false, 0
	o.mu.Unlock()
	if told {
		o.cfg.Log.Info("results are delivered again", "destination", o.name, "failures", skipped+1)
	}
	if outage {
		o.keep(o.line.Hasten(o.life, since))
	}
}
