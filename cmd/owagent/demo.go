package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"owl/histogram"
	"owl/internal/cli"
	"owl/internal/command"
	"owl/internal/table"
	"owl/owamp"
	"owl/owamp/stats"
	"owl/probe"
	"owl/probe/clock"
	"owl/sessions"
	"owl/sessions/metrics"
	"owl/sessions/ports"
	"owl/sessions/server"
)

// The demo's stream: lively enough to watch, and with files soon.
const (
	demoRate        = 100 // packets/s
	demoPackets     = 500 // per session
	demoTimeout     = time.Second
	demoMetricsPort = 9861
)

// demo runs a server and a stream in this process until ctx is done or, if
// DEMO_SECONDS says so, for a while, and shows what they measure.
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
	shift, err := cli.TimeShift(getenv)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "owl-demo-")
	if err != nil {
		return err
	}
	view := newView(stdout, getenv("TERM"))
	logger := func(least slog.Level) *slog.Logger {
		return cli.NewLogger(cli.LogConfig{Program: "owagent", Stderr: view.above(stderr), Level: least})
	}
	log := logger(slog.LevelWarn)
	clk := clock.New(clock.Config{Shift: shift, Log: log})
	engine, err := probe.New(probe.Config{Clock: clk, Log: log})
	if err != nil {
		return err
	}
	defer engine.Close()

	// What serves goes on until the stream has said goodbye to it.
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	var work sync.WaitGroup
	defer work.Wait()
	defer stopServing()
	work.Go(func() { clk.Run(serving) })

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	store, err := server.OpenStore(filepath.Join(dir, "server"), log)
	if err != nil {
		return err
	}
	srv := server.New(server.Config{
		Clock:  clk,
		Prober: ports.Engine(engine),
		Random: rand.Reader,
		Log:    logger(slog.LevelError), // what befalls its one client that one tells itself
		Store:  store,
	})
	work.Go(func() {
		defer store.Close()
		if err := srv.Serve(serving, ln); err != nil {
			log.Error(err.Error())
		}
	})

	files, err := sessions.OpenDirectory(dir)
	if err != nil {
		return err
	}
	defer files.Close()
	reg, collector, err := metrics.NewRegistry(command.Version)
	if err != nil {
		return err
	}
	var live *metrics.Stream
	stream, err := sessions.NewStream(sessions.StreamConfig{
		Dial: func(ctx context.Context) (sessions.Path, error) {
			local := netip.MustParseAddr("127.0.0.1")
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
			return sessions.Path{Conn: conn, Local: local, Peer: local}, err
		},
		Clock:     clk,
		Prober:    ports.Engine(engine),
		Random:    rand.Reader,
		Log:       log,
		Packets:   demoPackets,
		Slots:     []owamp.Slot{{Type: owamp.SlotExponential, Parameter: owamp.IntervalOf(time.Second / demoRate)}},
		Timeout:   owamp.IntervalOf(demoTimeout),
		Directory: files,
		Names:     func(from, to netip.Addr) stats.Names { return stats.Names{From: from.String(), To: to.String()} },
		Written:   view.written,
		Seen: func(recs []owamp.Record) {
			view.seen(recs)
			live.Observe(recs)
		},
	})
	if err != nil {
		return err
	}
	live = collector.Stream(metrics.Labels{
		Source: "127.0.0.1", Destination: "127.0.0.1", Direction: metrics.To, Stream: "demo",
	}, stream.Snapshot)
	defer live.Close()
	url, err := serveMetrics(serving, metrics.Handler(reg))
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, `Owl measures one-way latency on loopback, %d packets a second.

  server   %v (OWAMP-Control, open mode)
  metrics  %s
  files    %s (a pair every %d s)

Ctrl-C ends it.

`, demoRate, ln.Addr(), url, dir, demoPackets/demoRate)

	measuring, stopMeasuring := context.WithCancel(ctx)
	var measured sync.WaitGroup
	measured.Go(func() { stream.Run(measuring) })
	err = view.show(ctx, stream)
	stopMeasuring() // nobody looks any more
	measured.Wait()
	if err != nil {
		return err
	}
	return view.farewell(stdout, dir)
}

// serveMetrics serves the demo's metrics at the first port that is free.
func serveMetrics(ctx context.Context, reg http.Handler) (string, error) {
	var err error
	for port := demoMetricsPort; port < demoMetricsPort+20; port++ {
		var url string
		url, err = cli.ServeMetrics(ctx, fmt.Sprintf("127.0.0.1:%d", port), reg)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			return url, err
		}
	}
	return "", err
}

// A view is what the demo shows.
type view struct {
	table *table.Table

	mu         sync.Mutex
	delays     histogram.Live // of the second that is going on
	received   uint64
	lost       uint64
	duplicates uint64
	files      []string
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

// seen takes note of packets.
func (v *view) seen(recs []owamp.Record) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range recs {
		switch r := &recs[i]; {
		case r.Lost():
			v.lost++
		case r.Flags&owamp.FlagDuplicate != 0:
			v.duplicates++
		default:
			v.received++
			v.delays.Insert(int64(r.Recv.Sub(r.Sent)))
		}
	}
}

func (v *view) written(path string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.files = append(v.files, path)
}

// show updates the table every second until ctx is done.
func (v *view) show(ctx context.Context, stream *sessions.Stream) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			if err := v.table.Update([]table.Row{v.row(now, stream.Snapshot())}); err != nil {
				return err
			}
		}
	}
}

// row is the second that ends now, and the counts since the start.
func (v *view) row(now time.Time, s sessions.Snapshot) table.Row {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := table.Row{
		Time:         now,
		Stream:       "127.0.0.1",
		Received:     v.received,
		Lost:         v.lost,
		Duplicates:   v.duplicates,
		Reordered:    s.Reordered,
		ClockError:   s.ClockError,
		Synchronized: s.ClockSynced,
	}
	if v.delays.Count() > 0 {
		r.Min = time.Duration(v.delays.Min())
		r.Median = time.Duration(v.delays.Quantile(0.5))
		r.P95 = time.Duration(v.delays.Quantile(0.95))
	}
	v.delays.Reset()
	return r
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
