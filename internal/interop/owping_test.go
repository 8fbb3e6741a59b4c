package interop

import (
	"path/filepath"
	"strings"
	"testing"

	"owl/internal/testprog"
	"owl/owamp"
	"owl/owamp/owp"
)

// exponential and fixed make schedules' slots.
func exponential(seconds float64) owamp.Slot {
	return owamp.Slot{Type: owamp.SlotExponential, Parameter: owamp.IntervalSeconds(seconds)}
}

func fixed(seconds float64) owamp.Slot {
	return owamp.Slot{Type: owamp.SlotFixed, Parameter: owamp.IntervalSeconds(seconds)}
}

// pings are what the reference's owping asks of Owl's owampd.
var pings = []struct {
	name    string
	args    string
	packets uint32
	padding uint32
	dscp    uint8
	slots   []owamp.Slot
}{
	{"1000 a second", "-c 2000 -i 0.001", 2000, 0, 0, []owamp.Slot{exponential(0.001)}},
	{"1000 a second, evenly", "-c 2000 -i 0.001f", 2000, 0, 0, []owamp.Slot{fixed(0.001)}},
	{"padding", "-c 200 -i 0.01 -s 1400", 200, 1400, 0, []owamp.Slot{exponential(0.01)}},
	{"class", "-c 200 -i 0.01 -D EF", 200, 0, 46, []owamp.Slot{exponential(0.01)}},
	{"slots", "-c 20 -i 0.1,0.2f", 20, 0, 0, []owamp.Slot{exponential(0.1), fixed(0.2)}},
}

// checkPing checks what has come of a ping over loopback.
func checkPing(t *testing.T, m *measured, packets, padding uint32, dscp uint8, slots []owamp.Slot, ipv6 bool) {
	t.Helper()
	if got, ok := m.Spec.DSCP(); m.Spec.Packets != packets || m.Spec.Padding != padding || got != dscp || !ok || m.Spec.Receiver.Addr().Is6() != ipv6 {
		t.Errorf("%s: %+v, want %d packets, padding %d, DSCP %d", m.path, m.Spec, packets, padding, dscp)
	}
	if len(m.Spec.Slots) != len(slots) {
		t.Fatalf("%s: slots %v, want %v", m.path, m.Spec.Slots, slots)
	}
	for i, s := range m.Spec.Slots {
		if s != slots[i] {
			t.Errorf("%s: slot %v, want %v", m.path, s, slots[i])
		}
	}
	if m.Finished != owp.Normal {
		t.Errorf("%s: %v", m.path, m.Finished)
	}
	m.checkWhole(t)
}

// TestInteropOwping lets the reference's owping receive from Owl's owampd, and
// then send to it.
func TestInteropOwping(t *testing.T) {
	t.Parallel()
	c, own := reference(t), owl(t)
	type ping struct {
		*testprog.Process
		name string
		file func(*testing.T) string
		ipv6 bool
		i    int // of pings
	}
	for _, to := range []bool{false, true} {
		var running []ping
		for i, p := range pings {
			for _, ipv6 := range []bool{false, true} {
				// A server for each, so that its one file is this session's.
				v := own.serve(t, 0)
				file := filepath.Join(t.TempDir(), "from.owp")
				args := append(strings.Fields(p.args), "-P", "0", "-L", "1")
				q := ping{name: "from, " + p.name, ipv6: ipv6, i: i}
				if to {
					q.name = "to, " + p.name
					q.file = func(t *testing.T) string { return onlyFile(t, filepath.Join(v.data, "catalog")) }
					args = append(args, "-t")
				} else {
					q.file = func(*testing.T) string { return file }
					args = append(args, "-F", file)
				}
				if ipv6 {
					q.name += ", IPv6"
				}
				q.Process = testprog.Start(t, c.command("owping", append(args, v.at(ipv6))...))
				running = append(running, q)
			}
		}
		for _, q := range running {
			t.Run(q.name, func(t *testing.T) {
				if code := q.ExitCode(t); code != 0 {
					t.Fatalf("exit code %d: %s", code, q.Stderr)
				}
				p := pings[q.i]
				checkPing(t, read(t, q.file(t)), p.packets, p.padding, p.dscp, p.slots, q.ipv6)
				for _, want := range []string{" 0 lost (0.000%), 0 duplicates", "hops = 0 (consistently)", "no reordering"} {
					if !strings.Contains(q.Stdout.String(), want) {
						t.Errorf("owping printed\n%s\nwant %q", q.Stdout, want)
					}
				}
			})
		}
	}
}

// onlyFile returns the one .owp file of a directory.
func onlyFile(t testing.TB, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.owp"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%s: files %v, %v: want one", dir, files, err)
	}
	return files[0]
}
