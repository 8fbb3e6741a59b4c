package archive

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"owl/archive/queue"
)

// A counting destination takes everything, at once.
type counting struct {
	n    atomic.Int64
	want int64
	all  chan struct{} // it has as many as it wants
}

func (c *counting) Deliver(context.Context, *Item) error {
	if c.n.Add(1) == c.want {
		close(c.all)
	}
	return nil
}

func (c *counting) Close() error { return nil }

// A hanging destination takes nothing, ever.
type hanging struct{}

func (hanging) Deliver(ctx context.Context, _ *Item) error { <-ctx.Done(); return ctx.Err() }
func (hanging) Close() error                               { return nil }

// sustain has four destinations, and one that hangs, take n results of size
// octets, which come in batches, each synced.
func sustain(t testing.TB, n, size, batch int) (q *queue.Queue, end func()) {
	t.Helper()
	q, err := queue.Open(queue.Config{Path: filepath.Join(t.TempDir(), "queue.db")})
	if err != nil {
		t.Fatal(err)
	}
	var taking []*counting
	d := NewDispatcher(DispatcherConfig{Queue: q, Open: func(s *Spec) (Opened, error) {
		if s.Archiver == "hanging" {
			return Opened{Destination: hanging{}}, nil
		}
		c := &counting{want: int64(n), all: make(chan struct{})}
		taking = append(taking, c)
		return Opened{Destination: c}, nil
	}})
	var specs []*Spec
	for _, archiver := range []string{"1", "2", "3", "4", "hanging"} {
		s, err := ParseSpec(fmt.Appendf(nil, `{"archiver": %q, "data": {}}`, archiver))
		if err != nil {
			t.Fatal(err)
		}
		specs = append(specs, s)
	}
	if err := d.Set(t.Context(), specs); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, size)
	var producing sync.WaitGroup
	var next atomic.Int64
	for range 4 { // as many streams end at the same time
		producing.Go(func() {
			for {
				to := int(next.Add(int64(batch)))
				var all []*queue.Result
				for i := to - batch; i < min(to, n); i++ {
					all = append(all, &queue.Result{ID: strconv.Itoa(i), Body: bytes.Clone(body)})
				}
				if len(all) == 0 {
					return
				}
				if err := q.Put(t.Context(), all...); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	producing.Wait()
	for _, c := range taking {
		<-c.all
	}
	return q, func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		d.Close(ctx)
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	}
}

// BenchmarkSustained is how many results of 2 kB a second are queued, synced, and
// taken by four destinations beside one that hangs.
func BenchmarkSustained(b *testing.B) {
	const n = 10_000
	for b.Loop() {
		_, end := sustain(b, n, 2000, 10)
		end()
	}
	b.ReportMetric(float64(b.N)*n/b.Elapsed().Seconds(), "results/s")
}

// What is queued takes room on the disk and not in memory: here for a destination
// that hangs, beside four that keep up.
func TestManyQueued(t *testing.T) {
	n := 10_000
	if !testing.Short() {
		n = 1_000_000
	}
	before := memory()
	q, end := sustain(t, n, 500, 100)
	defer end()
	s, err := q.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	queued := int64(0)
	for _, l := range s.Lines {
		if l.Name == "hanging" {
			queued = l.Queued
		} else if l.Delivered != uint64(n) {
			t.Errorf("%s has %d results, want %d", l.Name, l.Delivered, n)
		}
	}
	if queued != int64(n) {
		t.Errorf("%d results are queued, want %d", queued, n)
	}
	grown := memory() - before
	t.Logf("%d results of 500 octets are queued: %d kB of heap more, resident at most %s", n, grown>>10, highWater(t))
	const most = 48 << 20 // the results that came last are in memory, up to 16 MiB
	if grown > most {
		t.Errorf("%d octets of memory more than without, want at most %d", grown, most)
	}
}

// memory is the heap that is in use.
func memory() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// highWater is the most memory that the process has had resident.
func highWater(t *testing.T) string {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "an amount that this system does not tell"
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strings.TrimSpace(rest)
		}
	}
	return "an unknown amount"
}
