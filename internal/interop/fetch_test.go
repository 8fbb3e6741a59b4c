package interop

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"owl/internal/testprog"
	"owl/owamp/owp"
)

// serveData starts the owampd of a suite on a data directory, with limits if
// there are lines of them.
func (s suite) serveData(t *testing.T, data string, limits ...string) *server {
	t.Helper()
	conf, port := t.TempDir(), freePort(t)
	files := map[string]string{"owamp-server.conf": "dieby 1\n"}
	if len(limits) > 0 {
		files["owamp-server.limits"] = strings.Join(limits, "\n") + "\n"
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(conf, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	v := s.serveIn(t, testprog.Here, fmt.Sprintf(":%d", port), "-c", conf, "-d", data)
	v.port, v.data = port, data
	for !answers(port) {
		select {
		case <-v.Ended():
			t.Fatalf("%v: %s", v.Cmd, v.Stderr)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return v
}

// pingTo has the suite's owping send to v, and returns what it has fetched of
// what came.
func (s suite) pingTo(t *testing.T, v *server, packets int) *measured {
	t.Helper()
	file := filepath.Join(t.TempDir(), "to.owp")
	p := testprog.Start(t, s.command("owping", "-t", "-c", fmt.Sprint(packets), "-i", "0.01", "-L", "0.5", "-P", "0", "-T", file, v.at(false)))
	if code := p.ExitCode(t); code != 0 {
		t.Fatalf("exit code %d: %s", code, p.Stderr)
	}
	return read(t, file)
}

// fetch has the suite's owfetch fetch the session of m, and compares what comes.
func (s suite) fetch(t *testing.T, v *server, m *measured) {
	t.Helper()
	want, err := os.ReadFile(m.path)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "again.owp")
	p := testprog.Start(t, s.command("owfetch", "-Q", v.at(false), m.Spec.SID.String(), file))
	if code := p.ExitCode(t); code != 0 {
		t.Fatalf("%s: exit code %d: %s", s.name, code, p.Stderr)
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(want, got) {
		t.Errorf("%s's owfetch: %v, %d octets that differ from owping's %d: %s", s.name, err, len(got), len(want), p.Stderr)
	}
}

// TestInteropFetch lets both suites' clients fetch from Owl's owampd what the
// reference's owping has sent there, also from the next owampd.
func TestInteropFetch(t *testing.T) {
	t.Parallel()
	c, own := reference(t), owl(t)
	v := own.serve(t, 0)
	m := c.pingTo(t, v, 300)
	m.checkWhole(t)
	for range 2 {
		c.fetch(t, v, m)
		own.fetch(t, v, m)
		// Over another address it is somebody else who asks.
		file := filepath.Join(t.TempDir(), "again.owp")
		p := testprog.Start(t, c.command("owfetch", "-Q", v.at(true), m.Spec.SID.String(), file))
		p.ExitCode(t) // it is 0 all the same
		if want := "Server denied request for to session data"; !strings.Contains(p.Stderr.String(), want) {
			t.Errorf("owfetch said %s, want %q", p.Stderr, want)
		}
		if code := v.Terminate(t); code != 0 {
			t.Errorf("exit code %d", code)
		}
		v = own.serveData(t, v.data)
	}
}

// TestInteropDataDirectory lets each suite's owampd serve what the other one has
// received, in the same data directory.
func TestInteropDataDirectory(t *testing.T) {
	t.Parallel()
	c, own := reference(t), owl(t)
	data := t.TempDir()
	limits := []string{"limit all with", "limit some with parent=all", "assign net 127.0.0.0/8 some"}
	everyone := strings.Replace(limits[0], "with", "with fetch=any", 1)
	var received []*measured
	for i, s := range []suite{own, c, own, c} {
		if s == own {
			limits[0] = everyone
		} else {
			limits[0] = "limit all with"
		}
		v := s.serveData(t, data, limits...)
		for _, m := range received {
			c.fetch(t, v, m)
			own.fetch(t, v, m)
		}
		received = append(received, c.pingTo(t, v, 20+i), own.pingTo(t, v, 40+i))
		v.Terminate(t)
		for _, m := range received {
			name := m.Spec.SID.String() + ".owp"
			target, err := os.Readlink(filepath.Join(data, "catalog", name))
			if want := filepath.Join(data, "hierarchy/all/some", name); err != nil || target != want {
				t.Errorf("after %s's owampd: the catalog leads to %s, %v, want %s", s.name, target, err, want)
			}
		}
	}
}

// TestInteropDeleteOnFetch has Owl's owampd delete what the reference's owping
// has fetched.
func TestInteropDeleteOnFetch(t *testing.T) {
	t.Parallel()
	c, own := reference(t), owl(t)
	v := own.serveData(t, t.TempDir(), "limit root with delete_on_fetch=on, disk=10k")
	for range 3 { // for all of which there would be no room
		if m := c.pingTo(t, v, 200); len(m.records) != 200 {
			t.Errorf("%d records", len(m.records))
		}
	}
	// The client is not told when it is done.
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		var left []string
		err := filepath.WalkDir(v.data, func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				left = append(left, path)
			}
			return err
		})
		if err == nil && len(left) == 0 {
			break
		}
		if time.Since(begin) > patience {
			t.Fatalf("%v are left, %v", left, err)
		}
	}
}

// TestInteropLimits has Owl's owampd refuse the reference's owping what its
// limits do not allow.
func TestInteropLimits(t *testing.T) {
	t.Parallel()
	c, own := reference(t), owl(t)
	for limit, why := range map[string]string{
		"bandwidth=10k":       "root:request:bandwidth = 33600 (result = 0, limit = 10000)",
		"disk=1k":             "root:request:disk = 2700 (result = 0, limit = 1000)",
		"allow_open_mode=off": "class root: allow_open_mode = off",
		"connection_rate=1":   "",
	} {
		t.Run(limit, func(t *testing.T) {
			v := own.serveData(t, t.TempDir(), "limit root with "+limit)
			p := testprog.Start(t, c.command("owping", "-t", "-c", "100", "-i", "0.01", "-L", "0.5", "-P", "0", v.at(false)))
			code := p.ExitCode(t)
			if why == "" {
				if code != 0 {
					t.Errorf("exit code %d: %s", code, p.Stderr)
				}
				return
			}
			if code != 1 {
				t.Errorf("exit code %d: %s", code, p.Stderr)
			}
			v.Await(t, v.Stderr, "the reason", func(text string) bool { return strings.Contains(text, why) })
		})
	}
}

// TestInteropPowstreamTo lets the reference's powstream send to Owl's owampd,
// and fetch from it, parts while they are recorded and then all of it.
func TestInteropPowstreamTo(t *testing.T) {
	t.Parallel()
	c, own := reference(t), owl(t)
	v := own.serve(t, 0)
	for _, ipv6 := range []bool{false, true} {
		t.Run(fmt.Sprintf("IPv6 %v", ipv6), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p := testprog.Start(t, c.command("powstream", "-t", "-p", "-P", "0", "-d", dir, "-c", "200", "-i", "0.05", "-N", "50", "-L", "1", v.at(ipv6)))
			awaitFiles(t, p, 2, ".owp")
			if code := p.Terminate(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
			for _, m := range sessionsIn(t, dir)[:2] {
				if m.Finished != owp.Normal || m.Spec.Receiver.Addr().Is6() != ipv6 {
					t.Errorf("%s: %+v", m.path, m.Header)
				}
				m.checkWhole(t)
				if err := compareOwstats(c, own, m.path); err != nil {
					t.Error(err)
				}
			}
			sums, err := filepath.Glob(filepath.Join(dir, "*.sum"))
			if err != nil || len(sums) < 2*(4+1) {
				t.Errorf("%d summaries, %v, want four parts and the whole of each session", len(sums), err)
			}
			for _, path := range sums {
				text, err := os.ReadFile(path)
				if err != nil || !bytes.Contains(text, []byte("\nLOST\t0\n")) {
					t.Errorf("%s: %v\n%s", path, err, text)
				}
			}
		})
	}
}
