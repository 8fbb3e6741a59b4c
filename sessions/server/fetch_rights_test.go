package server_test

import (
	"bytes"
	"errors"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/control"
	"owl/sessions/server"
)

// Who may fetch a session is said by its class.
func TestFetchRights(t *testing.T) {
	for _, test := range []struct {
		rule  string
		may   []string
		maynt []string
	}{
		{"fetch=creator", []string{"192.0.2.1"}, []string{"192.0.2.9", "198.51.100.1"}},
		{"fetch=class", []string{"192.0.2.1", "192.0.2.9"}, []string{"198.51.100.1"}},
		{"fetch=any", []string{"192.0.2.1", "192.0.2.9", "198.51.100.1"}, nil},
	} {
		t.Run(test.rule, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				l := limits(t, "limit root with "+test.rule, "limit near with parent=root", "assign net 192.0.2.0/24 near")
				limited := func(_ *world, c *server.Config) { c.Limits = l }
				w := serve(t, limited)
				c := w.connect()
				sid := w.record(c, 5)
				c.Close()
				w.stop()
				// The next server knows it, too.
				for range 2 {
					w := serveIn(t, w.data, limited)
					for _, addr := range test.may {
						c := w.connectFrom(netip.MustParseAddr(addr))
						if _, got, err := all(t, c, sid); err != nil || len(got) != 5 {
							t.Errorf("%s: %d records, %v", addr, len(got), err)
						}
						c.Close()
					}
					for _, addr := range test.maynt {
						c := w.connectFrom(netip.MustParseAddr(addr))
						_, _, err := all(t, c, sid)
						w.denied(err, owamp.AcceptReject, "class near: "+strings.ReplaceAll(test.rule, "=", " = ")+": session "+sid.String()+" is by 192.0.2.1")
						// The connection is none the worse for it.
						_, _, err = get(t, c, owamp.SID{1}, 0, 3)
						w.denied(err, owamp.AcceptReject, "there is no session 01000000000000000000000000000000")
						c.Close()
					}
					w.stop()
				}
			})
		})
	}
}

// A session whose creator is not known, because another suite's server has left
// it, is fetched if its class lets everyone.
func TestFetchUnknownCreator(t *testing.T) {
	for _, damage := range []func(string) error{
		os.Remove,
		func(name string) error { return os.Truncate(name, 0) },
		func(name string) error { return os.WriteFile(name, bytes.Repeat([]byte{'1'}, 1<<20), 0o644) },
	} {
		bubble.Test(t, func(t *testing.T) {
			w := serve(t, nil)
			c := w.connect()
			sid := w.record(c, 5)
			if err := damage(filepath.Join(w.data, "hierarchy", "default", sid.String()+".by")); err != nil {
				t.Fatal(err)
			}
			_, _, err := all(t, c, sid)
			w.denied(err, owamp.AcceptReject, "is by somebody unknown")
			w.Reload(server.Settings{}, limits(t, "limit default with fetch=class"))
			if _, got, err := all(t, c, sid); err != nil || len(got) != 5 {
				t.Errorf("%d records, %v", len(got), err)
			}
			c.Close()
			w.stop()
		})
	}
}

// delete_on_fetch deletes a session that was fetched whole, and gives its disk
// back; a part does not.
func TestDeleteOnFetch(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, func(_ *world, c *server.Config) {
			c.Limits = limits(t, "limit root with delete_on_fetch=on, disk=1m")
		})
		c := w.connect()
		sid := w.record(c, 50)
		if used := w.Used("root").Disk; used != 184+50*25 {
			t.Errorf("%d octets of disk are used, want %d", used, 184+50*25)
		}
		if _, got, err := get(t, c, sid, 0, 49); err != nil || len(got) != 50 {
			t.Errorf("%d records, %v", len(got), err)
		}
		if files, entries := w.kept(); files != 2 || entries != 1 {
			t.Errorf("%d files and %d entries after a part was fetched", files, entries)
		}
		if _, got, err := all(t, c, sid); err != nil || len(got) != 50 {
			t.Errorf("%d records, %v", len(got), err)
		}
		synctest.Wait()
		if files, entries := w.kept(); files+entries != 0 {
			t.Errorf("%d files and %d entries after all was fetched", files, entries)
		}
		if used := w.Used("root").Disk; used != 0 {
			t.Errorf("%d octets of disk are used", used)
		}
		_, _, err := all(t, c, sid)
		w.denied(err, owamp.AcceptReject, "there is no session")
		c.Close()
		w.stop()
	})
}

// A fetch that breaks off deletes nothing.
func TestDeleteOnBrokenFetch(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, func(_ *world, c *server.Config) { c.Limits = limits(t, "limit root with delete_on_fetch=on") })
		c := w.connect()
		sid := w.record(c, 60000) // more than is under way on a path
		err := c.Fetch(t.Context(), sid, 0, math.MaxUint32, func(*control.Fetched) (func([]owamp.Record) error, error) {
			synctest.Wait()
			w.Cut()
			return func([]owamp.Record) error { return nil }, nil
		})
		if _, lost := errors.AsType[*control.ConnError](err); !lost {
			t.Errorf("fetched: %v", err)
		}
		c.Close()
		synctest.Wait()
		again := w.connect()
		if _, got, err := all(t, again, sid); err != nil || len(got) != 60000 {
			t.Errorf("%d records, %v", len(got), err)
		}
		again.Close()
		w.stop()
	})
}

// What is no session any more, or never came to a good end, is refused.
func TestFetchRefused(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, func(_ *world, c *server.Config) { c.Limits = limits(t, "limit root with fetch=any, request_rate=2") })
		c := w.connect()

		// Its connection broke.
		broken := w.connect()
		port := w.port()
		spec := toServer(100, port.Addr())
		a := w.request(broken, spec)
		if err := broken.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		sending := w.send(port, spec, a)
		time.Sleep(5050 * time.Millisecond)
		broken.Close()
		time.Sleep(time.Second)
		sending.Stop()
		port.Close()
		begin := time.Now()
		_, _, err := all(t, c, a.SID)
		w.denied(err, owamp.AcceptReject, "it has no complete end")
		if took := time.Since(begin); took > time.Second {
			t.Errorf("denied after %v, although nothing can come any more", took)
		}
		if _, got, err := get(t, c, a.SID, 0, 99); err != nil || len(got) != 40 {
			t.Errorf("%d records, %v; want the 40 that came", len(got), err)
		}

		// Its file is damaged, or another's.
		name := filepath.Join(w.data, "hierarchy", "root", a.SID.String()+".owp")
		octets, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			at  int
			why string
		}{{0, "not an .owp file"}, {11, "failed"}, {40 + 48, "want version 3, this session"}} {
			damaged := bytes.Clone(octets)
			damaged[test.at] = 0
			if err := os.WriteFile(name, damaged, 0o644); err != nil {
				t.Fatal(err)
			}
			_, _, err = get(t, c, a.SID, 0, 10)
			w.denied(err, owamp.AcceptInternalError, test.why)
		}

		// Somebody has deleted it.
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		_, _, err = get(t, c, a.SID, 0, 10)
		w.denied(err, owamp.AcceptReject, "no such file")
		if files, entries := w.kept(); files+entries != 0 {
			t.Errorf("%d files and %d entries of a session that is gone", files, entries)
		}
		if used := w.Used("root").Disk; used != 0 {
			t.Errorf("%d octets of disk are used", used)
		}

		// It asks too often.
		other := w.record(c, 5)
		time.Sleep(time.Minute)
		for range 21 { // ten seconds' worth is saved up
			_, _, err = get(t, c, other, 0, 10)
		}
		w.denied(err, owamp.AcceptTemporaryLimit, "class root: request_rate = 2 is used up")
		c.Close()
		w.stop()
	})
}
