package archive

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"owl/archive/queue"
	"owl/archive/retry"
)

// DispatcherConfig describes a [Dispatcher]. Queue and Open are needed.
type DispatcherConfig struct {
	Queue  *queue.Queue
	Open   Opener
	Log    *slog.Logger     // nil: nobody is told
	Now    func() time.Time // nil: the host's clock
	Random func() float64   // in [0, 1); nil: [retry.Jitter]
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
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Random == nil {
		cfg.Random = retry.Jitter
	}
	return &Dispatcher{cfg: cfg, outlets: make(map[string]*outlet)}
}

// Set says where results go from now on. If anything is wrong with any of the
// specifications, nothing has changed. Destinations that stay go on undisturbed; a
// specification is of the same destination if its key is the same.
func (d *Dispatcher) Set(ctx context.Context, specs []*Spec) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errors.New("archiving has ended")
	}
	fresh, err := d.open(specs)
	var lines []*queue.Line
	if err == nil {
		targets := make([]queue.Target, len(specs))
		for i, s := range specs {
			targets[i] = queue.Target{Key: s.Key(), Name: s.Name()}
		}
		lines, err = d.cfg.Queue.Use(ctx, targets...)
	}
	if err != nil {
		for _, o := range fresh {
			err = errors.Join(err, o.Close())
		}
		return err
	}
	var ending sync.WaitGroup
	for key, o := range d.outlets {
		if fresh[key] != nil || !slices.ContainsFunc(specs, func(s *Spec) bool { return s.Key() == key }) {
			ending.Go(o.end)
			delete(d.outlets, key)
		}
	}
	ending.Wait()
	for i, s := range specs {
		if o := fresh[s.Key()]; o != nil {
			d.outlets[s.Key()] = o
			o.begin(lines[i])
		}
	}
	return nil
}

// open opens the destinations that are not open already, by key.
func (d *Dispatcher) open(specs []*Spec) (map[string]*outlet, error) {
	seen := make(map[string]bool)
	fresh := make(map[string]*outlet)
	var errs []error
	for i, s := range specs {
		key := s.Key()
		if seen[key] {
			errs = append(errs, fmt.Errorf("archive %d, %s: want it once, it is there already", i, s.Name()))
			continue
		}
		seen[key] = true
		if old := d.outlets[key]; old != nil && old.spec.equal(s) {
			continue
		}
		opened, err := d.cfg.Open(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("archive %d, %s: %w", i, s.Name(), err))
			continue
		}
		fresh[key] = &outlet{Opened: opened, cfg: &d.cfg, spec: s}
	}
	return fresh, errors.Join(errs...)
}

// A Status is how it goes with a destination.
type Status struct {
	Name     string
	Spec     *Spec
	Since    time.Time // when the first try failed after the last that did not; zero: the last did not
	Error    string    // of the last try that has failed since then
	Resuming time.Time // when it is tried again, if it is left alone for a while; else zero
}

// Status returns how it goes with the destinations, by name.
func (d *Dispatcher) Status() []Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []Status
	for _, o := range d.outlets {
		all = append(all, o.status())
	}
	slices.SortFunc(all, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Close ends the dispatching. Before it does, it delivers what is due, until ctx
// is done; the rest stays in the queue.
func (d *Dispatcher) Close(ctx context.Context) {
	d.mu.Lock()
	all := d.outlets
	d.outlets, d.closed = nil, true
	d.mu.Unlock()
	var drained sync.WaitGroup
	for _, o := range all {
		drained.Go(func() { o.drain(ctx) })
	}
	drained.Wait()
}
