package interop

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"owl/internal/testprog"
	"owl/owamp"
)

// A cell is one way to run a client of one suite against a server of another.
type cell struct {
	program        string // powstream or owping
	client, server suite
	mode           owamp.Mode
	ipv6, to       bool // to: the server receives
	padding        int

	*testprog.Process
	dir   string
	files []string
}

// cellPackets is how many a session of a cell has, 10 ms apart.
const cellPackets = 200

// TestInteropMatrix runs each client against each server, but the reference's
// against its own, in all modes, over both IP versions, in both directions,
// without and with padding. Over loopback no packet is lost, so each must have come, once; and
// both owstats say the same of each file. With -v it prints the table of
// docs/compatibility.md.
func TestInteropMatrix(t *testing.T) {
	c, own := reference(t), owl(t)
	servers := map[suite]*server{c: c.serve(t, 0), own: own.serve(t, 0)}
	var cells []*cell
	keys := writePassphrases(t, t.TempDir())
	for _, program := range []string{"owping", "powstream"} {
		for _, pair := range []struct{ client, server suite }{{c, own}, {own, c}, {own, own}} {
			var running []*cell // as many at a time as two processors take
			for _, mode := range []owamp.Mode{owamp.ModeOpen, owamp.ModeAuthenticated, owamp.ModeEncrypted} {
				for _, ipv6 := range []bool{false, true} {
					for _, to := range []bool{true, false} {
						for _, padding := range []int{0, 1000} {
							x := &cell{program: program, client: pair.client, server: pair.server, mode: mode, ipv6: ipv6, to: to, padding: padding, dir: t.TempDir()}
							x.start(t, servers[pair.server], keys)
							running = append(running, x)
						}
					}
				}
			}
			for _, x := range running {
				x.finish(t)
			}
			cells = append(cells, running...)
		}
	}

	told := map[*cell]string{}
	var mu sync.Mutex
	t.Run("all", func(t *testing.T) {
		for _, x := range cells {
			t.Run(x.String(), func(t *testing.T) {
				t.Parallel()
				s := x.check(t, c, own)
				mu.Lock()
				defer mu.Unlock()
				told[x] = s
			})
		}
	})
	t.Logf("\n%s", table(cells, told))
}

func (x *cell) String() string {
	return fmt.Sprintf("%s %s with %s mode %v %s %s padding %d", x.client.name, x.program, x.server.name, x.mode, x.family(), x.direction(), x.padding)
}

func (x *cell) family() string {
	if x.ipv6 {
		return "IPv6"
	}
	return "IPv4"
}

func (x *cell) direction() string {
	if x.to {
		return "to server"
	}
	return "from server"
}

// start starts the client. What it measures comes to be an .owp file in x.dir.
func (x *cell) start(t *testing.T, v *server, keys string) {
	t.Helper()
	args := []string{"-A", x.mode.String(), "-P", "0", "-c", strconv.Itoa(cellPackets), "-i", "0.01", "-L", "1", "-s", strconv.Itoa(x.padding)}
	if x.mode != owamp.ModeOpen {
		args = append(args, "-u", "alice", "-k", keys)
	}
	switch {
	case x.program == "powstream" && x.to:
		args = append(args, "-p", "-d", x.dir, "-t")
	case x.program == "powstream":
		args = append(args, "-p", "-d", x.dir)
	case x.to:
		args = append(args, "-T", filepath.Join(x.dir, "ping.owp"))
	default:
		args = append(args, "-F", filepath.Join(x.dir, "ping.owp"))
	}
	x.Process = testprog.Start(t, x.client.command(x.program, append(args, v.at(x.ipv6))...))
}

// finish waits for what there is to measure: with powstream two sessions and
// more. What it does when it is told to end belongs to other tests.
func (x *cell) finish(t *testing.T) {
	t.Helper()
	var code int
	if x.program == "powstream" {
		awaitFiles(t, x.Process, 2, ".sum")
		x.files = slices.DeleteFunc(x.Stdout.Lines(), func(path string) bool { return !strings.HasSuffix(path, ".owp") })
		code = x.Terminate(t)
	} else {
		code = x.ExitCode(t)
		x.files = []string{filepath.Join(x.dir, "ping.owp")}
	}
	if code != 0 {
		t.Errorf("%v: exit code %d", x, code)
	}
}

// check checks what was measured, and says how much that is.
func (x *cell) check(t *testing.T, c, own suite) string {
	received := 0
	for _, path := range x.files {
		m := read(t, path)
		server, client := m.Spec.Sender, m.Spec.Receiver
		if x.to {
			server, client = client, server
		}
		if m.Spec.Packets != cellPackets || m.Spec.Padding != uint32(x.padding) || server.Addr().Is6() != x.ipv6 || client.Addr().Is6() != x.ipv6 {
			t.Errorf("%s: %+v", m.path, m.Spec)
		}
		m.checkWhole(t)
		received += m.count(cellPackets).received
	}
	if err := compareOwstats(c, own, x.files[0]); err != nil {
		t.Error(err)
	}
	return fmt.Sprintf("%d of %d", received, len(x.files)*cellPackets)
}

// table says in Markdown how many packets of how many came, without padding and
// with it.
func table(cells []*cell, told map[*cell]string) string {
	var b strings.Builder
	b.WriteString("| client | server | mode | to it, IPv4 | from it, IPv4 | to it, IPv6 | from it, IPv6 |\n|---|---|---|---|---|---|---|\n")
	var row *cell
	for _, x := range cells { // those of a row stand together
		switch {
		case row == nil || row.program != x.program || row.client != x.client || row.server != x.server || row.mode != x.mode:
			if row != nil {
				b.WriteString(" |\n")
			}
			row = x
			fmt.Fprintf(&b, "| `%s`, %s | %s | %v | %s", x.program, x.client.name, x.server.name, x.mode, told[x])
		case x.padding == 0:
			fmt.Fprintf(&b, " | %s", told[x])
		default:
			fmt.Fprintf(&b, ", %s", told[x])
		}
	}
	b.WriteString(" |\n")
	return b.String()
}
