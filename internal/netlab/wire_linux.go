package netlab

import (
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// maxPacket is more than the devices' MTU, 1500.
const maxPacket = 2048

// A Wire joins two hosts. Its packets pass through this process.
type Wire struct {
	// AB is the way from the first host to the second, BA the way back.
	AB, BA *Direction
}

// A Direction is one half of a wire: one goroutine reads and one writes. Its
// methods may be called by any goroutine.
type Direction struct {
	mu      sync.Mutex // guards what follows
	lane    lane
	entered chan struct{} // closed when another packet has
	wake    chan struct{} // the same, for the writer
}

// NewWire makes two hosts joined by a wire that treats both directions as path
// says. Each seed makes another row of chances, the same in each run.
func NewWire(t testing.TB, seed uint64, path Path) (a, b *Host, w *Wire) {
	t.Helper()
	a, b = hosts(t)
	ta, tb := a.device(t), b.device(t)
	w = &Wire{AB: newDirection(2*seed, path), BA: newDirection(2*seed+1, path)}

	var wg sync.WaitGroup
	end := make(chan struct{})
	t.Cleanup(func() { // before the namespaces go
		close(end)
		ta.tun.Close()
		tb.tun.Close()
		wg.Wait()
		ta.tap.close()
		tb.tap.close()
	})
	for _, d := range []struct {
		*Direction
		from, to *device
	}{{w.AB, ta, tb}, {w.BA, tb, ta}} {
		wg.Go(func() { d.read(d.from) })
		wg.Go(func() { d.write(d.to, end) })
	}
	a.up(t, deviceName)
	b.up(t, deviceName)
	return a, b, w
}

// Set changes how packets from now on fare in both directions.
func (w *Wire) Set(p Path) {
	w.AB.Set(p)
	w.BA.Set(p)
}

func newDirection(seed uint64, p Path) *Direction {
	return &Direction{
		lane:    lane{seed: seed, script: []Step{{Path: p}}},
		entered: make(chan struct{}),
		wake:    make(chan struct{}, 1),
	}
}

// Set changes how packets from now on fare.
func (d *Direction) Set(p Path) { d.Play(Step{Path: p}) }

// Play changes how packets from now on fare, step by step: at least one.
func (d *Direction) Play(script ...Step) {
	now := time.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lane.play(slices.Clone(script), now)
}

// Log returns what became of each packet whose fate is settled, in the order in
// which they were. A packet on its way is not yet among them.
func (d *Direction) Log() []Entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.lane.log)
}

// Counts tallies the log's UDP packets.
func (d *Direction) Counts() Counts {
	return Tally(slices.DeleteFunc(d.Log(), func(e Entry) bool { return !e.UDP() }))
}

// AwaitPackets waits until n UDP packets in all have come in, and fails the test
// if they do not within patience.
func (d *Direction) AwaitPackets(t testing.TB, n int, patience time.Duration) {
	t.Helper()
	timeout := time.After(patience)
	for {
		d.mu.Lock()
		have, entered := d.lane.tests, d.entered
		d.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-entered:
		case <-timeout:
			t.Fatalf("netlab: %d UDP packets have come in within %v, want %d", have, patience, n)
		}
	}
}

// read moves packets from a device into the lane until the device is closed.
func (d *Direction) read(from *device) {
	buf := make([]byte, maxPacket)
	for {
		n, in, err := from.read(buf)
		if err != nil {
			return
		}
		octets := slices.Clone(buf[:n])
		d.mu.Lock()
		d.lane.enter(octets, in)
		close(d.entered)
		d.entered = make(chan struct{})
		d.mu.Unlock()
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
}

// write moves packets from the lane to a device when their time has come.
func (d *Direction) write(to *device, end <-chan struct{}) {
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
		next := d.lane.leave(time.Now(), to.write)
		d.mu.Unlock()
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

const deviceName = "tun0"

// A device is a host's end of a wire: a TUN device, whose descriptor works from
// everywhere, and a tap of it that knows when the kernel has handed packets to
// the device.
type device struct {
	tun *os.File
	tap *tap
}

// read reads the next packet that the host sends, and tells when it was handed
// to the device.
func (d *device) read(buf []byte) (n int, in time.Time, err error) {
	if n, err = d.tun.Read(buf); err != nil {
		return 0, time.Time{}, err
	}
	return n, d.tap.stamp(buf[:n]), nil
}

// write hands a packet to the host.
func (d *device) write(octets []byte) (out, done time.Time, ok bool) {
	out = time.Now()
	// A device that refuses a packet is down: the packet is lost, as on any wire
	// whose far end is not there.
	_, err := d.tun.Write(octets)
	return out, time.Now(), err == nil
}

// device makes the host's end of a wire.
func (h *Host) device(t testing.TB) *device {
	t.Helper()
	d := &device{}
	var failed error
	err := h.Do(func() {
		if d.tun, failed = openTUN(deviceName); failed == nil {
			if d.tap, failed = openTap(deviceName); failed != nil {
				d.tun.Close()
			}
		}
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		t.Skipf("netlab: SKIPPED: no TUN device: %v", err)
	}
	// The device drops what this process does not read in time, which no log
	// would show: seconds' worth of packets have room.
	h.ip(t, nil, "link set "+deviceName+" txqueuelen 20000")
	// A queue in front of that may be emptied by another system call than that of
	// the sender, and later.
	h.run(t, nil, "tc qdisc replace dev "+deviceName+" root noqueue")
	return d
}

func openTUN(name string) (*os.File, error) {
	// The runtime's poller takes the device only once it is attached, so
	// os.OpenFile would be too early.
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("open /dev/net/tun", err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("ioctl TUNSETIFF", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
