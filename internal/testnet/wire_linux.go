package testnet

import (
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// maxPacket is more than the devices' MTU, 1500.
const maxPacket = 2048

// A Wire joins two hosts. Its packets pass through this process.
type Wire struct {
	ab, ba direction
}

// A direction is one half of a wire: one goroutine reads and one writes.
type direction struct {
	mu   sync.Mutex // guards lane
	lane lane
	wake chan struct{} // says that something has entered
}

// NewWire makes two hosts joined by a wire that treats both directions as path
// says. What chance decides is the same in each run with the same packets.
func NewWire(t testing.TB, path Path) (a, b *Host, w *Wire) {
	t.Helper()
	a, b = hosts(t)
	ta, tb := a.tun(t), b.tun(t)
	w = &Wire{}
	w.ab.init(path, 1)
	w.ba.init(path, 2)

	var wg sync.WaitGroup
	end := make(chan struct{})
	t.Cleanup(func() { // before the namespaces go
		close(end)
		ta.Close()
		tb.Close()
		wg.Wait()
	})
	for _, d := range []struct {
		*direction
		from, to *os.File
	}{{&w.ab, ta, tb}, {&w.ba, tb, ta}} {
		wg.Go(func() { d.read(d.from) })
		wg.Go(func() { d.write(d.to, end) })
	}
	a.up(t, tunName)
	b.up(t, tunName)
	return a, b, w
}

// Set changes how packets from now on fare in both directions.
func (w *Wire) Set(p Path) {
	w.SetAB(p)
	w.SetBA(p)
}

// SetAB changes how packets from now on fare on the way from a to b.
func (w *Wire) SetAB(p Path) { w.ab.set(p) }

// SetBA changes how packets from now on fare on the way from b to a.
func (w *Wire) SetBA(p Path) { w.ba.set(p) }

// Counts returns what has been done in each direction.
func (w *Wire) Counts() (ab, ba Counts) { return w.ab.tally(), w.ba.tally() }

func (d *direction) init(p Path, seed uint64) {
	d.lane = lane{path: p, random: rand.New(rand.NewPCG(seed, 0)).Float64}
	d.wake = make(chan struct{}, 1)
}

func (d *direction) set(p Path) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lane.path = p
}

func (d *direction) tally() Counts {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lane.counts
}

// read moves packets from a device into the lane until the device is closed.
func (d *direction) read(dev *os.File) {
	buf := make([]byte, maxPacket)
	for {
		n, err := dev.Read(buf)
		if err != nil {
			return
		}
		p := append([]byte(nil), buf[:n]...)
		d.mu.Lock()
		d.lane.enter(p, time.Now())
		d.mu.Unlock()
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
}

// write moves packets from the lane to a device when their time has come.
func (d *direction) write(dev *os.File, end <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-end:
			return
		case <-d.wake:
		case <-timer.C:
		}
		d.mu.Lock()
		// A device that refuses a packet is down: the packet is lost, as on any
		// wire whose far end is not there.
		next := d.lane.leave(time.Now(), func(p []byte) { _, _ = dev.Write(p) })
		d.mu.Unlock()
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

const tunName = "tun0"

// tun opens a TUN device inside the host. The file descriptor works from
// everywhere.
func (h *Host) tun(t testing.TB) *os.File {
	t.Helper()
	var f *os.File
	var failed error
	err := h.Do(func() {
		// The runtime's poller takes the device only once it is attached, so
		// os.OpenFile would be too early.
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			failed = os.NewSyscallError("open /dev/net/tun", err)
			return
		}
		req, err := unix.NewIfreq(tunName)
		if err == nil {
			req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
		if err != nil {
			unix.Close(fd)
			failed = os.NewSyscallError("ioctl TUNSETIFF", err)
			return
		}
		f = os.NewFile(uintptr(fd), tunName)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		t.Skipf("testnet: SKIPPED: no TUN device: %v", err)
	}
	return f
}
