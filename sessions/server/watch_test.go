package server_test

import (
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/sessions"
	"owl/sessions/server"
)

// A watcher is what watches one peer.
type watcher struct {
	peer     server.Peer
	snapshot func() sessions.Snapshot
	mu       sync.Mutex
	observed int
	closed   bool
}

func (w *watcher) Observe(recs []owamp.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.observed += len(recs)
}

// state returns how many packets were observed, and whether it is closed.
func (w *watcher) state() (observed int, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.observed, w.closed
}

func (w *watcher) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}

// Each peer is watched in each direction as long as there are sessions, and for
// some minutes longer.
func TestWatch(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var watchers []*watcher
		w := serve(t, func(_ *world, c *server.Config) {
			c.Watch = func(p server.Peer, snapshot func() sessions.Snapshot) server.Watcher {
				x := &watcher{peer: p, snapshot: snapshot}
				watchers = append(watchers, x)
				return x
			}
		})
		port := w.port()
		// Who only asks is not watched.
		c := w.connect()
		w.request(c, toServer(50, netip.AddrPortFrom(elsewhere, 9000)))
		w.request(c, fromServer(50, port.Addr()))
		c.Close()
		time.Sleep(time.Minute)
		for range 2 {
			c := w.connect()
			in, out := toServer(50, port.Addr()), fromServer(50, port.Addr())
			a, _ := w.request(c, in), w.request(c, out)
			if err := c.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			sending := w.send(port, in, a)
			time.Sleep(3050 * time.Millisecond)
			synctest.Wait()
			if s := watchers[0].snapshot(); s.State != sessions.StateRunning || s.Unresolved != 20 || s.TTL != 250 {
				t.Errorf("running: %+v", s)
			}
			if _, err := c.Await(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Stop(t.Context(), []owamp.SendReport{sending.Stop()}); err != nil {
				t.Fatal(err)
			}
			c.Close()
			time.Sleep(5 * time.Minute)
		}
		synctest.Wait()
		if len(watchers) != 2 {
			t.Fatalf("%d watchers", len(watchers))
		}
		for i, want := range []server.Peer{
			{Sender: here, Receiver: there, Receiving: true},
			{Sender: there, Receiver: here},
		} {
			observed, closed := watchers[i].state()
			if watchers[i].peer != want || closed || observed != 100*(1-i) {
				t.Errorf("watcher %d: %+v, observed %d packets, closed %v", i, watchers[i].peer, observed, closed)
			}
		}
		if s := watchers[0].snapshot(); s.Received != 100 || s.Lost != 0 || s.Unresolved != 0 || s.State != sessions.StateIdle {
			t.Errorf("receiving: %+v", s)
		}
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		for i, x := range watchers {
			if _, closed := x.state(); !closed {
				t.Errorf("watcher %d is not closed 11 minutes after the last session", i)
			}
		}
		port.Close()
		w.stop()
	})
}
