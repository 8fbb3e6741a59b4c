package sessions_test

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/probe"
	"owl/sessions"
	"owl/sessions/internal/memwire"
	"owl/sessions/ports"
)

// TestWithoutDirectory: streams that write no files, in both directions and with
// one pool of ports, measure as others do: without a hole, each packet accounted
// for, also of sessions that are too long for memory; they leave nothing behind,
// and the pool to whoever made it.
func TestWithoutDirectory(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t)
		h := w.serve(10*time.Millisecond, nil)
		pool := ports.NewPool(w.net, probe.PortRange{}, "")
		scratch := directory(t)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		var streams []*sessions.Stream
		var seen [2]atomic.Uint64
		for i, cfg := range []sessions.StreamConfig{
			config(15_000, time.Millisecond, time.Second),
			toPeer(100, 10*time.Millisecond, time.Second),
		} {
			cfg.Dial, cfg.Clock, cfg.Random = w.dial, w.clock, memwire.Random("stream")
			cfg.Log = w.logger(slog.LevelInfo)
			cfg.Pool, cfg.Scratch = pool, scratch
			cfg.Part = 10 // there is nowhere to write of it
			cfg.Written = func(path string) { t.Errorf("told of the file %s", path) }
			cfg.Seen = func(recs []owamp.Record) {
				for j := range recs {
					if !recs[j].Lost() {
						seen[i].Add(1)
					}
				}
			}
			s, err := sessions.NewStream(cfg)
			if err != nil {
				t.Fatal(err)
			}
			streams = append(streams, s)
			running.Go(func() { s.Run(ctx) })
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for i, s := range streams {
			snap := s.Snapshot()
			if len(snap.Gaps) != 0 || snap.Lost != 0 || snap.NotSent != 0 || snap.NotCovered != 0 || snap.State != sessions.StateRunning {
				t.Errorf("stream %d: %+v, want nothing but packets received", i, snap)
			}
			if got := seen[i].Load(); snap.Received < 3000 || got < snap.Received {
				t.Errorf("stream %d: received %d, seen %d; want at least 3000, and each seen", i, snap.Received, got)
			}
		}
		cancel()
		running.Wait()
		if text := w.logged(); text != "" {
			t.Errorf("the log says\n%s", text)
		}
		if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
			t.Errorf("in the directory are %v, %v; want nothing", left, err)
		}
		if lease, err := pool.Lease(here, netip.AddrPortFrom(there, 0)); err != nil {
			t.Errorf("the pool after its streams: %v", err)
		} else {
			lease.Release(0)
		}
		pool.Close()
		h.stop()
		time.Sleep(10 * time.Second) // octets that are under way
		if n := w.net.Ports(); n != 0 {
			t.Errorf("%d test ports are open at the end", n)
		}
	})
}
