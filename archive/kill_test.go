package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"owl/archive/queue"
	"owl/archive/retry"
	"owl/internal/testprog"
)

// TestMain lets the test program be the agent that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("OWL_TEST_AGENT"); dir != "" {
		if err := agent(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// A recorder is a destination that writes down what it has taken, and fails at
// random.
type recorder struct {
	name string
	file *os.File
	fail float64 // how likely it is
	how  func(error) error
	slow time.Duration // it takes up to that long
}

func (r *recorder) Deliver(_ context.Context, item *Item) error {
	if r.slow > 0 {
		time.Sleep(rand.N(r.slow))
	}
	if rand.Float64() < r.fail {
		return r.how(errors.New("by chance"))
	}
	_, err := fmt.Fprintf(r.file, "%s %s\n", r.name, item.ID)
	return err
}

func (r *recorder) Close() error { return nil }

// agent queues results and brings them to destinations that fail at random, until
// it is killed. What it has queued it writes down once it is queued.
func agent(dir string) error {
	open := func(name string) (*os.File, error) {
		return os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	}
	produced, err := open("produced")
	if err != nil {
		return err
	}
	delivered, err := open("delivered")
	if err != nil {
		return err
	}
	q, err := queue.Open(queue.Config{Path: filepath.Join(dir, "queue.db"), Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err != nil {
		return err
	}
	plain := func(err error) error { return err }
	destinations := map[string]Opened{
		"steady":   {Destination: &recorder{slow: time.Millisecond}},
		"final":    {Destination: &recorder{fail: 0.1, how: Final}},
		"policy":   {Destination: &recorder{fail: 0.5, how: plain}, Retry: retry.Policy{{Attempts: 2, Wait: time.Millisecond}}},
		"again":    {Destination: &recorder{fail: 0.3, how: func(err error) error { return &AgainError{err, rand.N(100 * time.Millisecond)} }}},
		"parallel": {Destination: &recorder{fail: 0.05, how: plain, slow: 5 * time.Millisecond}, Parallel: 8, Retry: retry.Policy{{Attempts: 1000, Wait: 10 * time.Millisecond}}},
		"down":     {Destination: &recorder{fail: 1, how: plain}},
	}
	d := NewDispatcher(DispatcherConfig{Queue: q, Open: func(s *Spec) (Opened, error) {
		o := destinations[s.Archiver]
		r := o.Destination.(*recorder)
		r.name, r.file = s.Archiver, delivered
		return o, nil
	}})
	var specs []*Spec
	for name := range destinations {
		s, err := ParseSpec(fmt.Appendf(nil, `{"archiver": %q, "data": {}}`, name))
		if err != nil {
			return err
		}
		specs = append(specs, s)
	}
	if err := d.Set(context.Background(), specs); err != nil {
		return err
	}
	failed := make(chan error)
	for g := range 2 {
		go func() {
			for n := 0; ; n++ {
				var batch []*queue.Result
				var ids bytes.Buffer
				for i := range 1 + rand.N(5) {
					id := fmt.Sprintf("%d-%d-%d-%d", os.Getpid(), g, n, i)
					batch = append(batch, &queue.Result{ID: id, Body: fmt.Appendf(nil, `{"id":%q}`, id)})
					fmt.Fprintln(&ids, id)
				}
				if err := q.Put(context.Background(), batch...); err != nil {
					failed <- err
				}
				if _, err := produced.Write(ids.Bytes()); err != nil {
					failed <- err
				}
				fmt.Print(strings.Repeat(".", len(batch)))
				time.Sleep(rand.N(10 * time.Millisecond))
			}
		}()
	}
	return <-failed
}

// Killed at any moment, the agent loses nothing: each result that was queued is
// with each destination afterwards, or is still queued, or lies there dead; and
// few come twice.
func TestKill(t *testing.T) {
	t.Parallel()
	kills := 20
	if !testing.Short() {
		kills = 200
	}
	dir := t.TempDir()
	for range kills {
		kill(t, dir, 20+rand.N(400))
	}

	q, err := queue.Open(queue.Config{Path: filepath.Join(dir, "queue.db"), Still: true})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	left, err := q.List(t.Context(), queue.Selection{}, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	states := make(map[string]queue.State) // by destination and result
	count := make(map[string]int)
	for _, s := range left {
		states[s.Destination+" "+s.ID] = s.State
		count[s.Destination+" "+string(s.State)]++
	}
	times := make(map[string]int)
	deliveries, repeats := 0, 0
	for _, line := range lines(t, filepath.Join(dir, "delivered")) {
		if times[line]++; times[line] > 1 {
			repeats++
			name, _, _ := strings.Cut(line, " ")
			count[name+" twice"]++
		}
		deliveries++
	}
	ids := lines(t, filepath.Join(dir, "produced"))
	for _, id := range ids {
		for _, name := range []string{"steady", "final", "policy", "again", "parallel", "down"} {
			if key := name + " " + id; times[key] == 0 && states[key] == "" {
				t.Errorf("result %s is lost on its way to %s", id, name)
			}
		}
	}
	t.Logf("%d kills, %d results, %d deliveries, %d twice, left: %v", kills, len(ids), deliveries, repeats, count)
	if len(ids) < kills || deliveries < len(ids) {
		t.Errorf("%d results and %d deliveries: there is nothing to be seen", len(ids), deliveries)
	}
	if repeats*50 > deliveries {
		t.Errorf("%d of %d deliveries were repeats, want at most 2 %%", repeats, deliveries)
	}
	for _, key := range []string{"final dead", "policy dead", "down waiting"} {
		if count[key] == 0 {
			t.Errorf("nothing is %s", key)
		}
	}
}

// kill runs the agent, and kills it when it has queued so many results.
func kill(t *testing.T, dir string, results int) {
	t.Helper()
	printed, said := testprog.Killed(t, results, "OWL_TEST_AGENT="+dir) // it prints an octet for each
	if len(printed) < results || said != "" {
		t.Fatalf("the agent has queued %d results, want %d, and said: %s", len(printed), results, said)
	}
}

// lines returns the whole lines of a file.
func lines(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Split(string(b), "\n")
	return all[:len(all)-1]
}
