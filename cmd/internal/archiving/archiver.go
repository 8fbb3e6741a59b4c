package archiving

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"owl/archive"
	"owl/archive/dest"
	"owl/archive/dest/esmond"
	"owl/archive/queue"
	"owl/archive/store"
	"owl/internal/cli"
	"owl/sessions/result"
)

const (
	// drainTime is how long an end waits for results to be delivered; what is
	// left goes out at the next start.
	drainTime = 5 * time.Second
	// rereadTime is how often directories of default archives are looked at.
	rereadTime = 10 * time.Second
)

// Config describes an [Archiver].
type Config struct {
	Queue    queue.Config // Path is needed
	Specs    []*archive.Spec
	Defaults []string // directories of more specifications, which are read anew when they change
	// Store is a measurement archive of this process, which gets all results, too;
	// nil: there is none. It is to stay open until the Archiver is closed.
	Store *store.Store
	Log   *slog.Logger
}

// OwnName is what the measurement archive of this process is called among the
// archives.
const OwnName = "archive"

// An Archiver brings results to archives: it is a [sessions.Sink]. What it has
// taken is on the disk until it is delivered.
type Archiver struct {
	log        *slog.Logger
	queue      *queue.Queue
	dispatcher *archive.Dispatcher
	store      *archive.Spec // that of the measurement archive of this process; nil: there is none
	raw        atomic.Bool   // some archive wants all packets

	stop     context.CancelFunc
	watching sync.WaitGroup

	mu   sync.Mutex // guards what follows
	own  []*archive.Spec
	dirs []*directory
}

// Open opens the queue and begins to deliver what waits there.
func Open(ctx context.Context, cfg Config) (*Archiver, error) {
	if err := os.MkdirAll(filepath.Dir(cfg.Queue.Path), 0o755); err != nil {
		return nil, fmt.Errorf("queue: %w (--queue says where it is to be)", err)
	}
	q, err := queue.Open(cfg.Queue)
	if err != nil {
		return nil, err
	}
	a := &Archiver{log: cfg.Log, queue: q}
	if cfg.Store != nil {
		a.store = &archive.Spec{Archiver: OwnName}
	}
	a.dispatcher = archive.NewDispatcher(archive.DispatcherConfig{
		Queue: q,
		Open: func(s *archive.Spec) (archive.Opened, error) {
			if s == a.store {
				return esmond.OpenStore(cfg.Store, nil), nil
			}
			return dest.Open(s)
		},
		Log: cfg.Log,
	})
	if err := a.Set(ctx, cfg.Specs, cfg.Defaults); err != nil {
		return nil, errors.Join(err, q.Close())
	}
	watching, stop := context.WithCancel(context.Background())
	a.stop = stop
	a.watching.Go(func() { a.watch(watching) })
	return a, nil
}

// Set says anew where results go. If anything is wrong with it, nothing has
// changed.
func (a *Archiver) Set(ctx context.Context, specs []*archive.Spec, defaults []string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	dirs := make([]*directory, len(defaults))
	for i, path := range defaults {
		dirs[i] = &directory{path: path}
		dirs[i].read(a.log)
	}
	if err := a.use(ctx, specs, dirs); err != nil {
		return err
	}
	a.own, a.dirs = specs, dirs
	return nil
}

// use brings results to specs and to what the directories have. Whoever is named
// twice gets each result once.
func (a *Archiver) use(ctx context.Context, specs []*archive.Spec, dirs []*directory) error {
	for _, d := range dirs {
		specs = slices.Concat(specs, d.specs)
	}
	var all []*archive.Spec
	if a.store != nil {
		all = append(all, a.store)
	}
	known := make(map[string]bool)
	for _, s := range specs {
		if key := s.Key(); !known[key] {
			known[key] = true
			all = append(all, s)
		}
	}
	if err := a.dispatcher.Set(ctx, all); err != nil {
		return err
	}
	a.raw.Store(AnyRaw(all))
	return nil
}

// Raw reports whether some archive wants results with all their packets.
func (a *Archiver) Raw() bool { return a.raw.Load() }

// AnyRaw reports whether one of them wants results with all their packets.
func AnyRaw(specs []*archive.Spec) bool {
	return slices.ContainsFunc(specs, func(s *archive.Spec) bool { return s.Raw })
}

// watch reads directories of default archives anew when they change.
func (a *Archiver) watch(ctx context.Context) {
	ticker := time.NewTicker(rereadTime)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			a.reread(ctx)
		}
	}
}

func (a *Archiver) reread(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	changed := false
	for _, d := range a.dirs {
		changed = d.read(a.log) || changed
	}
	if !changed {
		return
	}
	if err := a.use(ctx, a.own, a.dirs); err != nil && ctx.Err() == nil {
		a.log.Warn("default archives have changed, and are not used so: " + err.Error())
		return
	}
	a.log.Info("default archives have changed")
}

// Put takes a result over: when it returns, the result is on the disk.
func (a *Archiver) Put(ctx context.Context, r *result.Result) error {
	body, err := r.JSON("", true)
	if err != nil {
		return err
	}
	return a.queue.Put(ctx, &queue.Result{
		ID:        r.ID,
		Succeeded: r.Succeeded,
		TaskHref:  r.Task.Href(""),
		RunHref:   r.RunHref(""),
		Body:      body,
	})
}

// Queue returns the queue, for people who look into it.
func (a *Archiver) Queue() *queue.Queue { return a.queue }

// Close delivers what is due for some seconds, and leaves the rest in the queue.
func (a *Archiver) Close() {
	a.stop()
	a.watching.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	a.dispatcher.Close(ctx)
	if err := a.queue.Close(); err != nil {
		a.log.Error(err.Error())
	}
}

// LocalEnd returns what results call this end of a path that was asked for by an
// address, or by the name of an interface, of which they know nothing.
func LocalEnd(source string) string {
	if _, err := netip.ParseAddr(source); err != nil {
		return ""
	}
	return source
}

// ControlPort returns the port of the control server at the first address that is
// one, as far as results are to know it.
func ControlPort(addrs ...string) uint16 {
	_, port, _ := cli.ParseHostPort(cmp.Or(addrs...), cli.DefaultPort)
	n, _ := strconv.ParseUint(port, 10, 16) // 0: of a service's name they know nothing
	return uint16(n)
}
