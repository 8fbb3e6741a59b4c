package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"owl/internal/agentfile"
	"owl/internal/cli"
	"owl/internal/table"
)

// The demo's streams: lively enough to watch, and with files and results soon.
const (
	demoRate        = 100 // packets/s
	demoPackets     = 300 // per session
	demoMetricsPort = 9861
	demoPagePort    = 8861
	demoPorts       = 20 // are tried, from those on
)

// The ends of the demo's path. All of 127.0.0.0/8 is this host, and two ends that
// differ show which way is which.
const (
	demoHere  = "127.0.0.1"
	demoThere = "127.0.0.2"
)

// demoFile is the file of an agent that measures to itself, both ways, and as the
// one who receives, for he sees each packet at once.
const demoFile = `# What the demo measures: owagent run --config takes it as it is.
host: %[1]s
server: {listen: "%[2]s:%[3]s", data: %[5]q}
archive: {store: %[6]q, listen: %[4]q}
queue: %[7]q
default_archives: []
defaults: {packets: %[8]d, interval: %[9]v, timeout: 1s, bucket: 1us, dir: %[5]q}
streams:
  - {name: there-here, peer: "%[2]s:%[3]s", source: %[1]s}
  - {name: here-there, peer: "%[1]s:%[3]s", source: %[2]s, server: "%[2]s:%[3]s"}
`

// demo runs an agent with a server, streams to it and an archive of what they
// measure, until ctx is done or, if DEMO_SECONDS says so, for a while, and shows
// what they measure.
func demo(ctx context.Context, getenv func(string) string, stdout, stderr io.Writer) error {
	if s := getenv("DEMO_SECONDS"); s != "" {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || !(f > 0 && f < 1e9) {
			return fmt.Errorf("DEMO_SECONDS=%q: want a number of seconds", s)
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(f*float64(time.Second)))
		defer cancel()
	}
	dir, err := os.MkdirTemp("", "owl-demo-")
	if err != nil {
		return err
	}
	scratch := filepath.Join(dir, "archive") // goes away at the end
	if err := os.Mkdir(scratch, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(scratch)

	l := new(listeners)
	defer l.close()
	if l.control, err = net.Listen("tcp", net.JoinHostPort(demoThere, "0")); err != nil {
		return err
	}
	if l.archive, err = listenFrom(demoPagePort); err != nil {
		return err
	}
	_, port, _ := net.SplitHostPort(l.control.Addr().String()) // which it has
	text := fmt.Sprintf(demoFile, demoHere, demoThere, port, l.archive.Addr(), dir,
		filepath.Join(scratch, "archive.db"), filepath.Join(scratch, "queue.db"), demoPackets, time.Second/demoRate)
	file := filepath.Join(dir, "owagent.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	cfg, err := agentfile.Parse(file, []byte(text), demoHere)
	if err != nil {
		return err
	}
	view := newView(stdout, getenv("TERM"))
	var level slog.LevelVar
	level.Set(slog.LevelWarn)
	log := cli.NewLogger(cli.LogConfig{Program: program.Name, Stderr: view.above(stderr), Level: &level})
	a, err := newAgent(ctx, file, cfg, log, getenv)
	if err != nil {
		return err
	}
	closed := sync.OnceFunc(a.close)
	defer closed()
	a.written = view.written
	metrics, err := a.serveDemoMetrics()
	if err != nil {
		return err
	}
	if _, err := a.start(l); err != nil {
		return err
	}
	fmt.Fprintf(stdout, `Owl measures one-way latency on loopback, %d packets a second each way.

  page     http://%v/
  metrics  %s
  server   %v (OWAMP-Control, open mode)
  files    %s (a pair every %d s each way)

Ctrl-C ends it.

`, demoRate, l.archive.Addr(), metrics, l.control.Addr(), dir, demoPackets/demoRate)

	err = a.watch(ctx, func(now time.Time, all []second) error {
		select {
		case err := <-a.failed:
			return err
		default:
			return view.show(now, all)
		}
	})
	if err != nil {
		return err
	}
	level.Set(slog.LevelError) // that this end leaves the other is no news
	closed()                   // writes what has been received of the sessions that run
	return view.farewell(stdout, dir)
}

// listenFrom listens on this host at the first port that is free from port on.
func listenFrom(port int) (ln net.Listener, err error) {
	for p := port; p < port+demoPorts; p++ {
		ln, err = net.Listen("tcp", net.JoinHostPort(demoHere, strconv.Itoa(p)))
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			return ln, err
		}
	}
	return nil, err
}

// serveDemoMetrics serves the agent's metrics at the first port that is free, and
// returns where.
func (a *agent) serveDemoMetrics() (url string, err error) {
	for p := demoMetricsPort; p < demoMetricsPort+demoPorts; p++ {
		url, err = a.serveMetrics(net.JoinHostPort(demoHere, strconv.Itoa(p)))
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			return url, err
		}
	}
	return "", err
}

// A view is what the demo shows.
type view struct {
	table *table.Table

	mu    sync.Mutex
	files []string
}

func newView(stdout io.Writer, term string) *view {
	if term == "dumb" {
		return &view{table: table.NewLines(stdout)}
	}
	return &view{table: table.New(stdout)}
}

// above returns where log lines go so that they do not cut the table in two.
func (v *view) above(stderr io.Writer) io.Writer {
	if v.table.Live() {
		return v.table
	}
	return stderr
}

func (v *view) written(path string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.files = append(v.files, path)
}

// show shows a second.
func (v *view) show(now time.Time, all []second) error {
	rows := make([]table.Row, len(all))
	for i := range all {
		rows[i] = rowOf(now, &all[i])
	}
	return v.table.Update(rows)
}

// rowOf is the second that ends now, and the counts since the start.
func rowOf(now time.Time, s *second) table.Row {
	task := &s.stream.task
	return table.Row{
		Time:         now,
		Stream:       task.Remote + " → " + task.Local,
		Received:     s.all.received,
		Lost:         s.all.lost,
		Duplicates:   s.all.duplicates,
		Reordered:    s.snapshot.Reordered,
		Min:          s.least,
		Median:       s.median,
		P95:          s.p95,
		ClockError:   s.snapshot.ClockError,
		Synchronized: s.snapshot.ClockSynced,
	}
}

// farewell tells what there is to look at now.
func (v *view) farewell(w io.Writer, dir string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.files) == 0 {
		_, err := fmt.Fprintf(w, "\nNo session was long enough to be written.\n")
		return err
	}
	_, err := fmt.Fprintf(w, "\n%d files are in %s. Look into one with\n\n  bin/owstats %s\n", len(v.files), dir, v.files[0])
	return err
}
