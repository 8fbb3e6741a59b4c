package server_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/sessions/policy"
	"owl/sessions/server"
)

// untouched checks that the server holds nothing for anyone, and serves.
func (w *world) untouched() {
	w.t.Helper()
	synctest.Wait()
	if n := w.net.Ports(); n != 0 {
		w.t.Errorf("%d test ports are open", n)
	}
	if n := w.Conns(); n != 0 {
		w.t.Errorf("%d connections exist", n)
	}
	if used := w.Used(""); used != (policy.Request{}) {
		w.t.Errorf("%+v is reserved", used)
	}
	if files, entries := w.kept(); files+entries != 0 {
		w.t.Errorf("%d files and %d entries are kept", files, entries)
	}
	w.serves()
}

// serves checks that a session from begin to end can be had, and fetched.
func (w *world) serves() {
	w.t.Helper()
	c := w.connectFrom(elsewhere)
	defer c.Close()
	if _, got, err := all(w.t, c, w.record(c, 5)); err != nil || len(got) != 5 {
		w.t.Errorf("another client got %d records, %v", len(got), err)
	}
}

// A client that asks for sessions and goes without a word holds them for as
// long as they last, and no longer than the server waits for anything.
func TestVanished(t *testing.T) {
	for _, started := range []bool{false, true} {
		bubble.Test(t, func(t *testing.T) {
			w := serve(t, func(_ *world, c *server.Config) { c.IdleTimeout = time.Minute })
			files, entries := w.Room()
			c := w.connect()
			for i := range uint16(10) {
				w.request(c, toServer(100, netip.AddrPortFrom(here, 9000+i)))
				w.request(c, fromServer(100, netip.AddrPortFrom(here, 9100+i)))
			}
			if used := w.Used(""); used.Sessions != 20 || used.Bandwidth != 20*3360 {
				t.Errorf("%+v is reserved", used)
			}
			if started {
				if err := c.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			w.Mute(true)
			time.Sleep(15*time.Second + time.Minute) // the sessions, and the time-out
			synctest.Wait()
			w.Cut() // the client's end, which is mute
			w.Mute(false)
			time.Sleep(time.Minute) // the ports stay reserved for a while
			w.untouched()
			if f, e := w.Room(); f != files || e != entries {
				t.Errorf("room for %d files and %d entries, want %d and %d", f, e, files, entries)
			}
			c.Close()
			w.stop()
		})
	}
}

// memory returns how much is in use.
func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// raw connects without a client, up to where requests can be made.
func (w *world) raw() net.Conn {
	w.t.Helper()
	conn, err := w.Dial(w.t.Context(), netip.AddrPortFrom(here, 50000))
	if err != nil {
		w.t.Fatal(err)
	}
	w.expect(conn, owamp.ServerGreetingSize)
	w.write(conn, (&owamp.SetUpResponse{Mode: owamp.ModeOpen}).Append(nil))
	w.expect(conn, owamp.ServerStartSize)
	return conn
}

// expect reads n octets.
func (w *world) expect(conn net.Conn, n int) []byte {
	w.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(conn, b); err != nil {
		w.t.Fatalf("reading %d octets: %v", n, err)
	}
	return b
}

func (w *world) write(conn net.Conn, b []byte) {
	w.t.Helper()
	if _, err := conn.Write(b); err != nil {
		w.t.Fatal(err)
	}
}

// encode returns a Request-Session as it is on the wire.
func encode(spec owamp.SessionSpec) []byte {
	b := owamp.AppendSlots(spec.AppendRequest(nil), spec.Slots)
	return append(b, make([]byte, owamp.BlockSize)...)
}

// scenes are the messages that a client sends, and what comes before them.
var scenes = []struct {
	name    string
	prepare func(*world) net.Conn
	message func() []byte
}{

	{
		"Set-Up-Response",
		func(w *world) net.Conn {
			conn, err := w.Dial(w.t.Context(), netip.AddrPortFrom(here, 50000))
			if err != nil {
				w.t.Fatal(err)
			}
			w.expect(conn, owamp.ServerGreetingSize)
			return conn
		},
		func() []byte { return (&owamp.SetUpResponse{Mode: owamp.ModeOpen}).Append(nil) },
	},
	{"Request-Session", (*world).raw, func() []byte {
		spec := toServer(10, netip.AddrPortFrom(here, 9000))
		spec.Slots = append(spec.Slots, spec.Slots[0])
		return encode(spec)
	}},
	{"Start-Sessions", (*world).requested, func() []byte { return owamp.StartSessions{}.Append(nil) }},
	{"Stop-Sessions", func(w *world) net.Conn {
		conn := w.requested()
		w.write(conn, owamp.StartSessions{}.Append(nil))
		w.expect(conn, owamp.StartAckSize)
		return conn
	}, func() []byte {
		return owamp.StopSessions{Reports: []owamp.SendReport{{SID: owamp.SID{1}, NextSeq: 3, Skips: []owamp.SkipRange{{First: 1, Last: 1}}}}}.Append(nil)
	}},
	{"Fetch-Session", (*world).raw, func() []byte {
		return owamp.FetchSession{End: math.MaxUint32, SID: owamp.SID{1}}.Append(nil)
	}},
}

// requested is raw, with a session in each direction.
func (w *world) requested() net.Conn {
	w.t.Helper()
	conn := w.raw()
	for i, ask := range []func(uint32, netip.AddrPort) owamp.SessionSpec{toServer, fromServer} {
		w.write(conn, encode(ask(10, netip.AddrPortFrom(here, uint16(9000+i)))))
		if answer := w.expect(conn, owamp.AcceptSessionSize); answer[0] != 0 {
			w.t.Fatalf("accept %d", answer[0])
		}
	}
	return conn
}

// Each message is cut off after each of its octets. The server closes the
// connection, or waits for the rest no longer than it may, and has nothing left
// of it.
func TestTruncated(t *testing.T) {
	for _, scene := range scenes {
		for _, mute := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s mute %v", scene.name, mute), func(t *testing.T) {
				bubble.Test(t, func(t *testing.T) {
					w := serve(t, func(_ *world, c *server.Config) { c.IdleTimeout = time.Minute })
					for n := range len(scene.message()) {
						conn := scene.prepare(w)
						if n > 0 {
							w.write(conn, scene.message()[:n])
						}
						if mute {
							time.Sleep(2 * time.Minute)
						} else {
							conn.Close()
							time.Sleep(10 * time.Second) // ports stay reserved for a while
						}
						conn.Close()
						synctest.Wait()
						if used, ports := w.Used(""), w.net.Ports(); used != (policy.Request{}) || ports != 0 || w.Conns() != 0 {
							t.Fatalf("after %d octets: %d ports, %d connections, %+v", n, ports, w.Conns(), used)
						}
					}
					w.untouched()
					w.stop()
				})
			})
		}
	}
}

// A client that sends its messages octet by octet has as much time for each as
// one that sends it at once, and nobody waits for it.
func TestSlowSender(t *testing.T) {
	for _, scene := range scenes {
		t.Run(scene.name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := serve(t, func(_ *world, c *server.Config) { c.IdleTimeout = time.Minute })
				conn := scene.prepare(w)
				begin := time.Now()
				gone := make(chan struct{})
				go func() {
					defer close(gone)
					io.Copy(io.Discard, conn)
				}()
				message := scene.message()
				pause := 3 * time.Minute / time.Duration(len(message))
				for i := range message {
					if _, err := conn.Write(message[i : i+1]); err != nil {
						break
					}
					time.Sleep(pause)
				}
				<-gone
				// In a test Stop-Sessions may come at any time, but once begun it
				// has to be over soon.
				if took := time.Since(begin); took > 2*time.Minute+pause {
					t.Errorf("it was waited for %v", took)
				}
				conn.Close()
				w.serves()
				w.stop()
			})
		})
	}
}

// A client that fetches and does not read is not waited for.
func TestSlowReader(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		c := w.connect()
		id := w.record(c, 60000) // more than is under way on a path
		c.Close()
		conn := w.raw()
		w.write(conn, owamp.FetchSession{End: math.MaxUint32, SID: id}.Append(nil))
		time.Sleep(time.Second)
		w.serves()
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if lines := strings.Join(w.logged(), ""); !strings.Contains(lines, "writing a fetched session: peer was silent for too long") {
			t.Errorf("logged %s", lines)
		}
		conn.Close()
		w.stop()
	})
}

// A client that stops a session that never sent, or that nobody knows, is told
// so by the end of the connection.
func TestFalseStop(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		conn := w.requested()
		w.write(conn, owamp.StartSessions{}.Append(nil))
		w.expect(conn, owamp.StartAckSize)
		w.write(conn, owamp.StopSessions{Reports: []owamp.SendReport{{SID: owamp.SID{9}, NextSeq: 3}}}.Append(nil))
		if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		conn.Close()
		time.Sleep(time.Minute)
		w.untouched()
		w.stop()
	})
}
