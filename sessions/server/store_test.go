package server_test

import (
	"io/fs"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/owp"
	"owl/sessions/server"
)

// tree returns what there is in a data directory: links with what they say.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		if target, err := os.Readlink(path); err == nil {
			target, _ = filepath.Rel(dir, target)
			name += " -> " + target
		}
		all = append(all, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// sid returns the i-th session ID.
func sid(i byte) owamp.SID { return owamp.SID{15: i} }

// half returns the file of session sid as a server leaves it that is killed:
// with records of n packets, of which the last one is cut in two.
func half(t *testing.T, sid owamp.SID, n uint32) []byte {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "half"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	spec := toServer(100, netip.AddrPortFrom(here, 9000))
	spec.SID = sid
	w, err := owp.Create(f, &spec)
	if err != nil {
		t.Fatal(err)
	}
	ok := owamp.NewErrorEstimate(time.Microsecond, true)
	for seq := range n {
		at := spec.Start.AddDuration(time.Duration(seq) * 100 * time.Millisecond)
		if err := w.Write(owamp.Record{Seq: seq, Sent: at, SentErr: ok, Recv: at + 1, RecvErr: ok}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return b[:len(b)-min(int(n), 1)*10]
}

// What is not as it should be in a data directory is put right at the start, or
// told and left alone.
func TestRebuild(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, octets []byte) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, octets, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, name string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, "catalog"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(dir, "catalog", name)); err != nil {
			t.Fatal(err)
		}
	}
	owpOf := func(i byte) string { return sid(i).String() + ".owp" }
	in := func(class string, i byte) string { return filepath.Join("hierarchy", class, owpOf(i)) }

	write(in("root/a", 1), half(t, sid(1), 10)) // killed in the middle
	write(strings.Replace(in("root/a", 1), ".owp", ".by", 1), []byte("192.0.2.1\n"))
	write(in("root/a", 2), half(t, sid(2), 0))                  // killed before the first packet
	write(in("root", 3), nil)                                   // killed before that
	write(in("root", 4), []byte("this is no file of the kind")) // damaged
	write(in("gone", 5), half(t, sid(5), 3))                    // of a class that there is no more
	link(filepath.Join(dir, in("gone", 5)), owpOf(5))
	write(in("root/b", 6), half(t, sid(6), 3)) // a link that leads elsewhere
	link("/nowhere", owpOf(6))
	link(filepath.Join(dir, in("root/b", 7)), owpOf(7))                     // dangling
	write(in("root/c", 6), half(t, sid(6), 3))                              // twice
	write("hierarchy/root/b/"+sid(8).String()+".by", []byte("192.0.2.1\n")) // a creator of nothing
	write("hierarchy/root/notes.txt", []byte("an operator's"))
	write("hierarchy/root/"+strings.ToUpper(owamp.SID{0xab}.String())+".owp", []byte("not so written"))
	write("catalog/strange", []byte("strange"))
	write("catalog/full/of", []byte("surprises"))
	if err := os.Mkdir(filepath.Join(dir, "catalog", "empty"), 0o755); err != nil {
		t.Fatal(err)
	}

	var log strings.Builder
	bubble.Test(t, func(t *testing.T) {
		store := openStore(t, dir, &log)
		w := serveIn(t, dir, func(_ *world, c *server.Config) {
			c.Store = store
			c.Limits = limits(t, "limit root with fetch=any, disk=1m", "limit a with parent=root", "limit b with parent=a")
		})
		c := w.connect()
		for i, want := range map[byte]int{1: 9, 5: 2, 6: 2} {
			if r, got, err := get(t, c, sid(i), 0, math.MaxUint32-1); err != nil || len(got) != want || r.Header().Finished != owp.Incomplete {
				t.Errorf("session %v: %d records, %v; want %d", sid(i), len(got), err, want)
			}
		}
		_, _, err := get(t, c, sid(4), 0, 1)
		w.denied(err, owamp.AcceptInternalError, "not an .owp file")
		for class, want := range map[string]uint64{"a": 184 + 9*25 + 184 + 2*25, "b": 184 + 2*25, "root": 27 + 3*184 + 13*25} {
			if used := w.Used(class).Disk; used != want {
				t.Errorf("class %s: %d octets of disk are used, want %d", class, used, want)
			}
		}
		c.Close()
		w.stop()
	})
	want := []string{
		"catalog/" + owpOf(1) + " -> " + in("root/a", 1),
		"catalog/" + owpOf(4) + " -> " + in("root", 4),
		"catalog/" + owpOf(5) + " -> " + in("gone", 5),
		"catalog/" + owpOf(6) + " -> " + in("root/b", 6),
		"catalog/full/of",
		in("gone", 5),
		in("root", 4),
		"hierarchy/root/" + strings.ToUpper(owamp.SID{0xab}.String()) + ".owp",
		"hierarchy/root/a/" + sid(1).String() + ".by",
		in("root/a", 1),
		in("root/b", 6),
		in("root/c", 6),
		"hierarchy/root/notes.txt",
	}
	slices.Sort(want)
	got := tree(t, dir)
	slices.Sort(got)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for _, want := range []string{
		in("root/a", 2) + " is deleted: nothing was recorded in it",
		in("root", 3) + " is deleted: nothing was recorded in it",
		in("root", 4) + ": octet 0: ",
		in("root/c", 6) + " is left alone: the session is in " + filepath.Join(dir, "hierarchy/root/b") + ", too",
		"catalog/full: directory not empty",
		"gone count for class root: there is no class gone",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("logged\n%s\nwant %q", &log, want)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 6 {
		t.Errorf("logged %d lines\n%s", n, &log)
	}
}

// What is whole when a server is killed is fetched from the next one, and so is
// what is recorded of a session that ran.
func TestRestart(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		c, running := w.connect(), w.connect()
		whole := w.record(c, 20)
		port := w.port()
		spec := toServer(100, port.Addr())
		a := w.request(running, spec)
		if err := running.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		sending := w.send(port, spec, a)
		time.Sleep(5050 * time.Millisecond)
		synctest.Wait()
		// A copy of the directory is what a server that is killed now leaves.
		dir := t.TempDir()
		if err := os.CopyFS(filepath.Join(dir, "hierarchy"), os.DirFS(filepath.Join(w.data, "hierarchy"))); err != nil {
			t.Fatal(err)
		}
		next := serveIn(t, dir, nil)
		again := next.connect()
		if _, got, err := all(t, again, whole); err != nil || len(got) != 20 {
			t.Errorf("the whole session: %d records, %v", len(got), err)
		}
		_, _, err := all(t, again, a.SID)
		next.denied(err, owamp.AcceptReject, "it has no complete end")
		// Up to a second of records is in memory only.
		if _, got, err := get(t, again, a.SID, 0, 99); err != nil || len(got) < 30 || len(got) > 41 {
			t.Errorf("the other session: %d records, %v", len(got), err)
		}
		again.Close()
		next.stop()
		sending.Stop()
		c.Close()
		running.Close()
		port.Close()
		w.stop()
	})
}

// A client that goes before the first packet has come leaves nothing.
func TestNothingRecorded(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, nil)
		c := w.connect()
		w.request(c, toServer(100, netip.AddrPortFrom(here, 9000)))
		w.request(c, toServer(100, netip.AddrPortFrom(here, 9001)))
		if files, entries := w.kept(); files != 4 || entries != 2 {
			t.Errorf("%d files and %d entries of two sessions", files, entries)
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		c.Close()
		synctest.Wait()
		if files, entries := w.kept(); files+entries != 0 {
			t.Errorf("%d files and %d entries", files, entries)
		}
		w.stop()
	})
}

// Sessions are deleted when they are too old, and forgotten when somebody else
// has deleted them; their disk is given back.
func TestSweep(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, func(_ *world, c *server.Config) { c.Retention = time.Hour })
		c := w.connect()
		old, young, gone := w.record(c, 5), w.record(c, 6), w.record(c, 7)
		for id, age := range map[owamp.SID]time.Duration{old: 2 * time.Hour, young: 30 * time.Minute} {
			at := time.Now().Add(-age)
			if err := os.Chtimes(filepath.Join(w.data, "catalog", id.String()+".owp"), at, at); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Remove(filepath.Join(w.data, "hierarchy/default", gone.String()+".owp")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(11 * time.Minute)
		synctest.Wait()
		if files, entries := w.kept(); files != 2 || entries != 1 {
			t.Errorf("%d files and %d entries of one session", files, entries)
		}
		if used := w.Used("").Disk; used != 184+6*25 {
			t.Errorf("%d octets of disk are used, want %d", used, 184+6*25)
		}
		if _, got, err := all(t, c, young); err != nil || len(got) != 6 {
			t.Errorf("%d records, %v", len(got), err)
		}
		c.Close()
		w.stop()
	})
}
