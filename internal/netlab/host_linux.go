package netlab

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Host is one end of a test network.
type Host struct {
	// Addr4 and Addr6 are the host's addresses on the path to the other host.
	Addr4, Addr6 netip.Addr

	ns *os.File
}

// Do runs f inside the host: sockets that f opens on its own goroutine belong
// to the host and may be used anywhere, for ever. Goroutines that f starts are
// outside, and so is what net.Dial and net.Listen do to resolve names; use
// addresses. f may not call t.FailNow and its like.
//
// The thread that has entered the namespace is thrown away afterwards.
func (h *Host) Do(f func()) (err error) {
	onDoomedThread(func() {
		if e := unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET); e != nil {
			err = os.NewSyscallError("setns", e)
			return
		}
		f()
	})
	return err
}

// onDoomedThread runs f on a thread that ends with it, because a goroutine that
// ends while it is locked to its thread takes the thread with it: f may change
// the thread's namespace, and no other goroutine will ever run there. The main
// thread is spared. It cannot end, and its namespace is what /proc/self/ns and
// /proc/net show of the whole process.
func onDoomedThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onDoomedThread(f) // while this goroutine occupies the main thread
			runtime.UnlockOSThread()
			return
		}
		f()
	}()
	<-done
}

// Start starts cmd inside the host.
func (h *Host) Start(cmd *exec.Cmd) error {
	var started error
	if err := h.Do(func() { started = cmd.Start() }); err != nil {
		return err
	}
	return started
}

// Output runs a command inside the host and returns what it printed; its error
// says what it printed on stderr.
func (h *Host) Output(cmd *exec.Cmd) (string, error) {
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := h.Start(cmd); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// NewVeth makes two hosts joined by a veth pair.
func NewVeth(t testing.TB) (a, b *Host) {
	t.Helper()
	a, b = hosts(t)
	// The second end is born in the other namespace, which it is given as a
	// descriptor because it has no name.
	a.ip(t, b.ns, "link add eth0 type veth peer name eth0 netns /proc/self/fd/3")
	a.up(t, "eth0")
	b.up(t, "eth0")
	return a, b
}

func hosts(t testing.TB) (a, b *Host) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("netlab: SKIPPED: network namespaces need root")
	}
	for _, command := range []string{"ip", "tc"} {
		if _, err := exec.LookPath(command); err != nil {
			t.Skipf("netlab: SKIPPED: the command %s (Debian: iproute2) is not installed", command)
		}
	}
	a, b = newHost(t, 1), newHost(t, 2)
	return a, b
}

func newHost(t testing.TB, n byte) *Host {
	t.Helper()
	h := &Host{
		Addr4: netip.AddrFrom4([4]byte{10, 98, 0, n}),
		Addr6: netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x98, 15: n}),
	}
	var err error
	onDoomedThread(func() {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			h.ns, err = os.Open("/proc/thread-self/ns/net")
		}
	})
	if err != nil {
		t.Skipf("netlab: SKIPPED: this root may not make network namespaces: %v", err)
	}
	t.Cleanup(func() { h.ns.Close() })
	h.ip(t, nil, "link set lo up")
	return h
}

// up gives a device the host's addresses, and waits until they can be reached.
// Duplicate address detection would keep an IPv6 address from being used for a
// second; without it the kernel still adds the address's own route, in its own
// time, and drops what comes before that.
func (h *Host) up(t testing.TB, dev string) {
	t.Helper()
	h.ip(t, nil, fmt.Sprintf("address add %v/24 dev %s", h.Addr4, dev))
	h.ip(t, nil, fmt.Sprintf("address add %v/64 dev %s nodad", h.Addr6, dev))
	h.ip(t, nil, fmt.Sprintf("link set %s up", dev))
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if strings.Contains(h.ip(t, nil, "-6 route show table local"), "local "+h.Addr6.String()+" ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("netlab: %v has no route", h.Addr6)
		}
	}
}

// ip runs the command ip inside the host with extra as descriptor 3, and returns
// what it printed.
func (h *Host) ip(t testing.TB, extra *os.File, args string) string {
	t.Helper()
	return h.run(t, extra, "ip "+args)
}

func (h *Host) run(t testing.TB, extra *os.File, command string) string {
	t.Helper()
	words := strings.Fields(command)
	cmd := exec.CommandContext(t.Context(), words[0], words[1:]...)
	if extra != nil {
		cmd.ExtraFiles = []*os.File{extra}
	}
	out, err := h.Output(cmd)
	if err != nil {
		t.Fatalf("netlab: %v", err)
	}
	return out
}
