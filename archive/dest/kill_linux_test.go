package dest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"owl/archive"
	"owl/archive/queue"
	"owl/internal/testprog"
	"owl/internal/testserver"
)

// TestMain lets the test program be the agent that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("OWL_TEST_AGENT"); dir != "" {
		if err := agent(dir, os.Getenv("OWL_TEST_QUEUE")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// agent queues results, and brings them to what dir/archives says, until it is
// killed. What is queued it writes down, in dir. For each result it prints an
// octet: a point, or an x if there was no room for it.
func agent(dir, path string) error {
	produced, err := os.OpenFile(filepath.Join(dir, "produced"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, "archives"))
	if err != nil {
		return err
	}
	specs, err := archive.ParseSpecs(text)
	if err != nil {
		return err
	}
	q, err := queue.Open(queue.Config{Path: path, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	d := archive.NewDispatcher(archive.DispatcherConfig{Queue: q, Open: Open})
	if err := d.Set(context.Background(), specs); err != nil {
		return err
	}
	for n := 0; ; n++ {
		id := fmt.Sprintf("%d-%d", os.Getpid(), n)
		sign := "."
		if err := q.Put(context.Background(), &queue.Result{ID: id, Body: fmt.Appendf(nil, `{"id":%q}`, id)}); err != nil {
			sign = "x"
		} else if _, err := fmt.Fprintln(produced, id); err != nil {
			return err
		}
		fmt.Print(sign)
		time.Sleep(rand.N(5 * time.Millisecond))
	}
}

// Killed at any moment, while a broker comes and goes, a disk is full at times and
// a server has errors, the agent loses nothing: what the queue has taken each
// destination has afterwards, or it is still queued, or lies there dead; and few
// results come twice.
func TestKill(t *testing.T) {
	t.Parallel()
	kills := 20
	if !testing.Short() {
		kills = 200
	}
	broker := testserver.StartRabbitMQ(t, testserver.NewAuthority(t))
	with(t, broker, func(ch *amqp.Channel) {
		if _, err := ch.QueueDeclare("kill", true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
	})
	w := newWorld(t, `{"archiver": "failer", "data": {"fail": 0.2}}`,
		fmt.Sprintf(`{"archiver": "rabbitmq", "data": {"schema": 3, "_url": %q, "routing-key": "kill", "retry-policy": [{"attempts": 100000, "wait": "PT0.2S"}]}}`, broker.URL("owl", "%2F")))
	w.queue = filepath.Join(w.dir, "queue.db")
	up := true
	for n := range kills {
		switch { // the broker takes seconds to start
		case up && n%10 == 5:
			broker.Kill(t)
			up = false
		case !up && n%10 == 8:
			broker.Start(t)
			up = true
		}
		w.kill()
	}
	if !up {
		broker.Start(t)
	}
	w.arrived["rabbitmq"] = taken(t, broker)
	if deliveries, repeats := w.settle(); repeats*50 > deliveries {
		t.Errorf("%d of %d deliveries were repeats, want at most 2 %%", repeats, deliveries)
	}
}

// The same if it is the queue whose disk is full at times. Of what is delivered
// then nobody can write down that it is, and it comes again if the agent is killed
// before there is room.
func TestKillFull(t *testing.T) {
	t.Parallel()
	kills := 10
	if !testing.Short() {
		kills = 100
	}
	w := newWorld(t)
	w.queue = filepath.Join(w.disk, "queue.db")
	for range kills {
		w.kill()
	}
	w.settle()
}

// A world is what the agent lives in: a server with errors, and a small disk.
type world struct {
	t       *testing.T
	dir     string // the agent's
	queue   string // its file
	disk    string
	full    bool
	kills   int
	refused int                       // results, by a full disk
	arrived map[string]map[string]int // how often, by destination and result
}

// newWorld returns a world with destinations in it, and more of them.
func newWorld(t *testing.T, more ...string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), disk: smallDisk(t)}
	web := &moody{times: make(map[string]int)}
	server := httptest.NewServer(web)
	t.Cleanup(server.Close)
	w.arrived = map[string]map[string]int{"http": web.times}
	archives := append(more,
		fmt.Sprintf(`{"archiver": "http", "data": {"_url": %q, "retry-policy": [{"attempts": 100000, "wait": "PT0.05S"}]}}`, server.URL),
		fmt.Sprintf(`{"archiver": "file", "data": {"path": %q, "retry-policy": [{"attempts": 100000, "wait": "PT0.05S"}]}}`, filepath.Join(w.disk, "results")))
	if err := os.WriteFile(filepath.Join(w.dir, "archives"), []byte("["+strings.Join(archives, ",")+"]"), 0o600); err != nil {
		t.Fatal(err)
	}
	return w
}

// settle checks that nothing is lost, and returns how many deliveries there were,
// and how many of them were of what had been delivered already.
func (w *world) settle() (deliveries, repeats int) {
	t := w.t
	t.Helper()
	if w.full {
		w.turn()
	}
	q, err := queue.Open(queue.Config{Path: w.queue, Still: true})
	if err != nil {
		t.Fatal(err)
	}
	left, err := q.List(t.Context(), queue.Selection{}, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	queued := make(map[string]bool) // by destination and result
	count := make(map[string]int)
	for _, s := range left {
		name, _, _ := strings.Cut(s.Destination, " ")
		queued[name+" "+s.ID] = true
		count[name+" "+string(s.State)]++
	}
	ids := lines(t, filepath.Join(w.dir, "produced"))
	w.arrived["file"] = written(t, filepath.Join(w.disk, "results"))
	for name, times := range w.arrived {
		for _, n := range times {
			deliveries += n
			repeats += n - 1
		}
		for _, id := range ids {
			if times[id] == 0 && !queued[name+" "+id] {
				t.Errorf("result %s is lost on its way to %s", id, name)
			}
		}
		if len(times) == 0 {
			t.Errorf("%s has got nothing", name)
		}
	}
	t.Logf("%d kills, %d results, %d refused by a full disk, %d deliveries, %d of them repeats, left: %v", w.kills, len(ids), w.refused, deliveries, repeats, count)
	return deliveries, repeats
}

const diskSize = 32 << 20

// smallDisk returns a directory that is soon full, if that can be had.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if os.Geteuid() != 0 {
		t.Log("SKIPPED: a full disk: only root can mount a small one")
		return dir
	}
	if err := syscall.Mount("owl-test", dir, "tmpfs", 0, fmt.Sprintf("size=%d", diskSize)); err != nil {
		t.Logf("SKIPPED: a full disk: mount: %v", err)
		return dir
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// turn leaves no room on the disk if there is any, or makes it.
func (w *world) turn() {
	w.t.Helper()
	w.full = !w.full
	filler := filepath.Join(w.disk, "filler")
	if !w.full {
		if err := os.Remove(filler); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	f, err := os.Create(filler)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	// A disk that is not small is not filled.
	for size, n := 64<<10, 0; size > 0 && n < diskSize; {
		m, err := f.Write(make([]byte, size))
		if n += m; err != nil {
			size /= 2
		}
	}
}

// kill runs the agent, and kills it when it has come to some number of results.
func (w *world) kill() {
	t := w.t
	t.Helper()
	if rand.N(4) == 0 {
		w.turn()
	}
	results := 20 + rand.N(200)
	signs, said := testprog.Killed(t, results, "OWL_TEST_AGENT="+w.dir, "OWL_TEST_QUEUE="+w.queue)
	// It cannot begin if its queue's disk is full.
	if (len(signs) < results || said != "") && !strings.Contains(said, "full") {
		t.Fatalf("the agent has come to %d results, want %d, and said: %s", len(signs), results, said)
	}
	w.kills++
	w.refused += bytes.Count(signs, []byte("x"))
}

// A moody server has an error for one request in five, and counts what it has
// said yes to.
type moody struct {
	mu    sync.Mutex
	times map[string]int // by result
}

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var result struct{ ID string }
	if err := json.NewDecoder(r.Body).Decode(&result); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if rand.N(5) == 0 {
		http.Error(w, "by chance", http.StatusInternalServerError)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.times[result.ID]++
}

// taken returns how often each result is in the queue.
func taken(t *testing.T, b *testserver.RabbitMQ) map[string]int {
	t.Helper()
	times := make(map[string]int)
	with(t, b, func(ch *amqp.Channel) {
		for {
			m, ok, err := ch.Get("kill", true)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				return
			}
			note(t, times, m.Body)
		}
	})
	return times
}

// with hands a channel to the broker over.
func with(t *testing.T, b *testserver.RabbitMQ, do func(*amqp.Channel)) {
	t.Helper()
	conn, err := amqp.Dial(b.URL("owl", "%2F"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	do(ch)
}

// written returns how often each result is in a file.
func written(t *testing.T, path string) map[string]int {
	t.Helper()
	times := make(map[string]int)
	for _, line := range lines(t, path) {
		note(t, times, []byte(line))
	}
	return times
}

func note(t *testing.T, times map[string]int, text []byte) {
	t.Helper()
	var result struct{ ID string }
	if err := json.Unmarshal(text, &result); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	times[result.ID]++
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
