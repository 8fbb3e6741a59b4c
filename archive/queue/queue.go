package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// A Result is what is queued. Nobody changes it any more.
type Result struct {
	ID        string // no two have the same
	Succeeded bool
	TaskHref  string
	RunHref   string
	Body      []byte    // JSON
	Arrived   time.Time // zero: when it is put
	seq       int64     // its place in the order; none has 0
}

// A Full says what becomes of results when there are as many octets of them as
// there may be.
type Full string

// The choices.
const (
	DropOldest Full = "oldest" // those that have been there longest go
	RefuseNew  Full = "newest" // those that come are refused
)

// Defaults of a [Config].
const (
	DefaultMaxSize = 4 << 30
	DefaultMaxAge  = 30 * 24 * time.Hour
)

// maxResult bounds a result, in octets.
const maxResult = 64 << 20

// Errors of [Queue.Put].
var (
	ErrFull   = errors.New("the queue is full")
	ErrClosed = errors.New("the queue is closed")
)

// Config describes a [Queue].
type Config struct {
	Path string // of the file, which is made if there is none
	// MaxSize is how many octets of results there may be; 0: DefaultMaxSize.
	// The file has some hundred octets more for each. Full says what becomes of
	// what is beyond; empty: DropOldest.
	MaxSize int64
	Full    Full
	// MaxAge is how long a result may wait, dead or not; 0: DefaultMaxAge.
	MaxAge time.Duration
	// Keep is how long a result stays that is settled everywhere, so that it may
	// be replayed.
	Keep time.Duration
	// Still is for a look at what another program has left: the file must be
	// there, and nothing is dropped or deleted, save what somebody asks for.
	Still bool
	Now   func() time.Time // nil: the host's clock
	Log   *slog.Logger     // nil: nobody is told
}

// A Queue is an open file. Its methods may be called by many goroutines at once.
type Queue struct {
	cfg     Config
	store   *store
	work    chan job
	settled chan struct{} // has an element: something is settled that is not in the file
	closing chan struct{}
	ended   chan struct{} // the writer has ended
	recent  recent        // guarded by mu

	came    atomic.Uint64 // results that were queued
	refused atomic.Uint64 // results that were not

	// The writer's:
	done    int64 // all lines are past the results up to there, and those are deleted that do not wait
	unswept bool  // there is much to sweep
	fresh   int   // results since the last sweep

	mu      sync.Mutex       // guards all below, and what lines say it does
	lines   map[string]*Line // by key; only the writer changes it
	last    int64            // the greatest place in the order
	size    int64            // octets of results
	failing error            // why the file could not be written the last time
	closed  bool
}

// Open opens a file, which no other process may have open.
func Open(cfg Config) (*Queue, error) {
	if cfg.MaxSize == 0 {
		cfg.MaxSize = DefaultMaxSize
	}
	if cfg.MaxAge == 0 {
		cfg.MaxAge = DefaultMaxAge
	}
	if cfg.Full == "" {
		cfg.Full = DropOldest
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	q := &Queue{
		cfg:     cfg,
		work:    make(chan job, jobsAtOnce),
		settled: make(chan struct{}, 1),
		closing: make(chan struct{}),
		ended:   make(chan struct{}),
		lines:   make(map[string]*Line),
	}
	var err error
	if q.store, err = openStore(cfg.Path, !cfg.Still); err != nil {
		return nil, q.because(err)
	}
	if err := q.load(); err != nil {
		return nil, q.because(errors.Join(err, q.store.close()))
	}
	go q.write()
	return q, nil
}

// because says which queue err is of.
func (q *Queue) because(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("queue %s: %w", q.cfg.Path, err)
}

// Put queues results: all of them, or with an error none. When it returns they
// are on the disk, whatever happens to the process or the host's power. A result
// whose ID is in the queue is not queued again. It returns ErrFull if the queue
// is and refuses what is new.
func (q *Queue) Put(ctx context.Context, results ...*Result) error {
	err := q.put(ctx, results)
	if err != nil {
		q.refused.Add(uint64(len(results)))
	}
	return err
}

func (q *Queue) put(ctx context.Context, results []*Result) error {
	size := int64(0)
	for _, r := range results {
		if r.ID == "" || len(r.Body) == 0 {
			return q.because(fmt.Errorf("result %q has %d octets: want an ID, and JSON", r.ID, len(r.Body)))
		}
		if len(r.Body) > maxResult {
			return q.because(fmt.Errorf("result %s has %d octets: want at most %d", r.ID, len(r.Body), maxResult))
		}
		size += int64(len(r.Body))
	}
	var queued []*Result
	return q.change(ctx, job{
		do: func(s *store) error {
			if has := q.Size() + s.grown; q.cfg.Full == RefuseNew && has+size > q.cfg.MaxSize {
				return fmt.Errorf("%w: it has %d octets of %d", ErrFull, has, q.cfg.MaxSize)
			}
			for _, r := range results {
				own := *r
				if own.Arrived.IsZero() {
					own.Arrived = q.cfg.Now()
				}
				seq, err := s.insert(&own)
				if err != nil {
					return err
				}
				if own.seq = seq; seq > 0 {
					queued = append(queued, &own)
				}
			}
			return nil
		},
		after: func() {
			q.came.Add(uint64(len(queued)))
			if q.fresh += len(queued); q.fresh >= sweepAtOnce || q.size > q.cfg.MaxSize {
				q.unswept = true
			}
			for _, r := range queued {
				q.last = r.seq
				q.recent.add(r)
			}
			for _, l := range q.lines {
				l.wake()
			}
		},
	})
}

// Size returns how many octets of results there are.
func (q *Queue) Size() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.size
}

// Close ends the use of the file. What is settled is in the file when it
// returns.
func (q *Queue) Close() error {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		<-q.ended
		return nil
	}
	q.closed = true
	for _, l := range q.lines {
		l.letPass()
		l.wake()
	}
	q.mu.Unlock()
	close(q.closing)
	<-q.ended
	return q.because(q.store.close())
}
