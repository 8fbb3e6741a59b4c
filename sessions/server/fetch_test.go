package server_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/control"
	"owl/owamp/owp"
	"owl/sessions/fetch"
)

// elsewhere is another client.
var elsewhere = netip.MustParseAddr("192.0.2.9")

// get fetches packets begin to end, both inclusive, of a session.
func get(t *testing.T, c *control.Client, sid owamp.SID, begin, end uint32) (*owp.Reader, []owamp.Record, error) {
	t.Helper()
	var b bytes.Buffer
	if err := fetch.Packets(t.Context(), c, sid, begin, end, &b); err != nil {
		return nil, nil, err
	}
	r, err := owp.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	var recs []owamp.Record
	for rec, err := range r.Records() {
		if err != nil {
			t.Fatal(err)
		}
		recs = append(recs, rec)
	}
	return r, recs, nil
}

// all fetches a whole session.
func all(t *testing.T, c *control.Client, sid owamp.SID) (*owp.Reader, []owamp.Record, error) {
	t.Helper()
	return get(t, c, sid, 0, math.MaxUint32)
}

// denied checks that err is a refusal, and that the last line of the log says
// why.
func (w *world) denied(err error, accept owamp.Accept, why string) {
	w.t.Helper()
	refusal, ok := errors.AsType[*control.DeniedError](err)
	if !ok || refusal.Accept != accept {
		w.t.Errorf("%v, want %v", err, accept)
	}
	synctest.Wait()
	lines := w.logged()
	if len(lines) == 0 || !strings.Contains(lines[len(lines)-1], why) {
		w.t.Errorf("logged %q, want at last %q", lines, why)
	}
}

// odd has every fifth packet lost and every seventh sent twice.
func odd(_, _ netip.AddrPort, seq uint32) []time.Duration {
	switch {
	case seq%5 == 3:
		return nil
	case seq%7 == 0:
		return []time.Duration{time.Millisecond, 2 * time.Millisecond}
	}
	return []time.Duration{time.Millisecond}
}

// A session that is over is fetched, whole and in part, and is what the server
// has kept.
func TestFetch(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		w.net.Fate = odd
		c := w.connect()
		sid := w.record(c, 50)
		head, recs := w.stored(sid)
		for _, test := range []struct{ begin, end uint32 }{{0, math.MaxUint32}, {0, 49}, {10, 20}, {13, 13}, {49, 49}, {40, 1000}, {1, math.MaxUint32}} {
			r, got, err := get(t, c, sid, test.begin, test.end)
			if err != nil {
				t.Errorf("packets %d to %d: %v", test.begin, test.end, err)
				continue
			}
			want := slices.DeleteFunc(slices.Clone(recs), func(r owamp.Record) bool { return r.Seq < test.begin || r.Seq > test.end })
			if d := cmp.Diff(want, got); d != "" || len(want) == 0 {
				t.Errorf("packets %d to %d: (-kept +got)\n%s", test.begin, test.end, d)
			}
			if h := r.Header(); h.Finished != owp.Normal || h.NextSeq != 50 || h.Spec.Sender != head.Spec.Sender || h.Spec.Receiver != head.Spec.Receiver || h.Spec.SID != sid {
				t.Errorf("packets %d to %d: %+v", test.begin, test.end, h)
			}
		}
		// Beyond the end there is nothing, which is no error.
		if _, got, err := get(t, c, sid, 50, 60); err != nil || len(got) != 0 {
			t.Errorf("packets 50 to 60: %d records, %v", len(got), err)
		}
		lines := w.logged()
		if len(lines) != 1 || !strings.Contains(lines[0], "lost 1 packet (seq 3) at 2000-01-01T00:00:01.399Z: in the network\" sender=192.0.2.1") {
			t.Errorf("logged %q", lines)
		}
		// On the same connection a session can be had after that.
		other := w.record(c, 5)
		if _, got, err := all(t, c, other); err != nil || len(got) < 5 {
			t.Errorf("another session: %d records, %v", len(got), err)
		}
		c.Close()
		w.stop()
	})
}

// Packets that the sender skipped are told.
func TestFetchSkips(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		c := w.connect()
		port := w.port()
		spec := toServer(30, port.Addr())
		a := w.request(c, spec)
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		sending := w.send(port, spec, a)
		if _, err := c.Await(t.Context()); err != nil {
			t.Fatal(err)
		}
		report := sending.Stop()
		report.Skips = []owamp.SkipRange{{First: 3, Last: 4}, {First: 7, Last: 7}, {First: 20, Last: 25}}
		if _, err := c.Stop(t.Context(), []owamp.SendReport{report}); err != nil {
			t.Fatal(err)
		}
		r, _, err := all(t, c, a.SID)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(report.Skips, r.Skips()); d != "" {
			t.Errorf("skips (-reported +fetched)\n%s", d)
		}
		c.Close()
		port.Close()
		w.stop()
	})
}

// While a session runs, what has been recorded of it is fetched on another
// connection, without what was only declared lost at its end; who wants all of
// it waits until it is over, half a minute at most.
func TestFetchRunning(t *testing.T) {
	for _, packets := range []uint32{200, 1000} { // 20 and 100 s of them
		bubble.Test(t, func(t *testing.T) {
			w := serve(t, nil)
			w.net.Fate = func(_, _ netip.AddrPort, seq uint32) []time.Duration {
				if seq >= 80 && seq < 120 {
					return nil
				}
				return []time.Duration{time.Millisecond}
			}
			c, fetching := w.connect(), w.connect()
			port := w.port()
			spec := toServer(packets, port.Addr())
			a := w.request(c, spec)
			if err := c.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			sending := w.send(port, spec, a)
			time.Sleep(11500 * time.Millisecond) // about 105 packets
			r, got, err := get(t, fetching, a.SID, 0, 99)
			if err != nil || len(got) != 80 || r.Header().Finished != owp.Incomplete || r.Header().NextSeq != 0 {
				t.Errorf("got %d records, %v; want the 80 up to the last one that came", len(got), err)
			}
			if _, got, err := get(t, fetching, a.SID, 70, 89); err != nil || len(got) != 10 {
				t.Errorf("got %d records, %v; want 10", len(got), err)
			}
			if _, got, err := get(t, fetching, a.SID, 100, 150); err != nil || len(got) != 0 {
				t.Errorf("got %d records, %v; want none", len(got), err)
			}
			go func() {
				c.Await(t.Context())
				c.Stop(t.Context(), []owamp.SendReport{sending.Stop()})
			}()
			asked := time.Now()
			_, got, err = all(t, fetching, a.SID)
			took := time.Since(asked)
			if packets == 200 {
				// 9.5 s of packets, the time-out, and Stop-Sessions.
				if err != nil || len(got) != 200 || took < 11*time.Second || took > 13*time.Second {
					t.Errorf("got %d records, %v, after %v", len(got), err, took)
				}
			} else {
				w.denied(err, owamp.AcceptReject, "session not yet terminated!")
				if took != 31*time.Second {
					t.Errorf("denied after %v", took)
				}
				if _, got, err := get(t, fetching, a.SID, 150, 160); err != nil || len(got) != 11 {
					t.Errorf("got %d records, %v; want 11", len(got), err)
				}
				time.Sleep(time.Minute)
				if _, got, err = all(t, fetching, a.SID); err != nil || len(got) != 1000 {
					t.Errorf("got %d records, %v; want 1000", len(got), err)
				}
			}
			c.Close()
			fetching.Close()
			port.Close()
			w.stop()
		})
	}
}

// Nothing is left of a client that goes while it waits, nor does it hold up the
// end of the server.
func TestFetchGone(t *testing.T) {
	for _, shutdown := range []bool{false, true} {
		bubble.Test(t, func(t *testing.T) {
			w := serve(t, nil)
			c, fetching := w.connect(), w.connect()
			port := w.port()
			spec := toServer(1000, port.Addr())
			a := w.request(c, spec)
			if err := c.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if shutdown {
				go func() {
					time.Sleep(2 * time.Second)
					w.cancel()
				}()
			}
			err := fetch.Whole(ctx, fetching, a.SID, new(bytes.Buffer))
			if err == nil {
				t.Error("fetched a session that runs")
			}
			fetching.Close()
			synctest.Wait()
			if n := w.Conns(); !shutdown && n != 1 {
				t.Errorf("%d connections, want that of the session only", n)
			}
			if shutdown {
				if err := <-w.ended; err != nil {
					t.Error(err)
				}
				w.ended <- nil
			}
			for _, line := range w.logged() {
				if !strings.Contains(line, "Connection ended: answering Fetch-Session: peer closed the connection") {
					t.Errorf("logged %s", line)
				}
			}
			c.Close()
			port.Close()
			w.stop()
		})
	}
}

// A session is fetched in the very moment in which it is settled: what comes is
// right, or nothing does.
func TestFetchSettling(t *testing.T) {
	w := serve(t, nil)
	fetched := 0
	for round := range 20 {
		c, fetching := w.connect(), w.connect()
		port := w.port()
		spec := toServer(20000, port.Addr())
		spec.Slots[0].Parameter = owamp.IntervalOf(2 * time.Microsecond)
		spec.Start = owamp.FromTime(time.Now())
		spec.Timeout = owamp.IntervalOf(300 * time.Millisecond)
		a := w.request(c, spec)
		if a.Accept != owamp.AcceptOK {
			t.Fatalf("answer %v", a.Accept)
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		sending := w.send(port, spec, a)
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			time.Sleep(time.Duration(round) * 20 * time.Millisecond)
			report := sending.Stop()
			report.NextSeq = min(report.NextSeq, 10000) // what is later moves what is before it
			c.Stop(t.Context(), []owamp.SendReport{report})
		}()
		for open := true; open; {
			select {
			case <-stopped:
				open = false
			default:
			}
			_, got, err := get(t, fetching, a.SID, 100, 9999)
			if lost, ok := errors.AsType[*control.ConnError](err); ok && !errors.Is(lost, net.ErrClosed) {
				fetching.Close()
				fetching = w.connect()
				continue
			} else if err != nil {
				if denied, ok := errors.AsType[*control.DeniedError](err); ok && denied.Accept == owamp.AcceptReject {
					continue // nothing was recorded by then
				}
				t.Fatal(err)
			}
			fetched++
			seen := make(map[uint32]bool)
			for _, r := range got {
				if r.Seq < 100 || r.Seq > 9999 || seen[r.Seq] {
					t.Fatalf("packet %d: want each from 100 to 9999 once", r.Seq)
				}
				seen[r.Seq] = true
			}
		}
		c.Close()
		fetching.Close()
		port.Close()
	}
	if fetched == 0 {
		t.Error("nothing was fetched")
	}
	w.cancel()
	if err := <-w.ended; err != nil {
		t.Error(err)
	}
}
