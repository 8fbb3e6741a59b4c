package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"owl/owamp"
)

const (
	// dumpSize bounds what waits to be written, in octets an interface.
	dumpSize = 16 << 20
	// dumpEvery is how often it is written.
	dumpEvery = 100 * time.Millisecond
	// dumpRetire is how long the kernel keeps frames for itself.
	dumpRetire = dumpEvery / 2
	// dumpAtOnce is about how many octets are written at once.
	dumpAtOnce = 1 << 20
	// afterwards is how long after the end of a port there may be frames of it
	// that have not been read.
	afterwards = time.Second
	// recentFirsts is how many datagrams are remembered of which more fragments
	// are to come.
	recentFirsts = 64
)

// DumpConfig describes a [Dump].
type DumpConfig struct {
	// Writer gets the file, whole blocks with each call.
	Writer io.Writer
	// Log is told at once if the file cannot be written, and in the end how
	// many packets are in it and how many could not be kept.
	Log *slog.Logger
	// Except are destinations; what is sent there is left out.
	Except []netip.AddrPort
}

// A Dump writes the datagrams from and to certain ports of this host to a
// pcapng file, with the nanoseconds of the kernel's stamps: of what is sent when
// it was handed to the interface. A goroutine of its own does, and whoever sends
// and receives does not wait for it: what it cannot keep up with is left out and
// counted. The file is whole whenever nothing is being written, which is at least
// each second.
//
// Packets are in the file with the header of Linux's cooked capture
// (LINKTYPE_LINUX_SLL), in which is their direction: 4, sent by this host, or 0,
// received. A packet is there once as sent if it is from one of the ports, and
// once as received if it is to one of them. So one that both are ports of this
// Dump has sent each other over the loopback interface is there twice, and one to
// or from another program of this host once, although the loopback interface has
// shown each twice.
//
// Its methods may be called by any goroutine.
type Dump struct {
	cfg DumpConfig
	end chan struct{}
	run sync.WaitGroup

	mu     sync.Mutex // guards all below; never held while the file is written
	traces map[Interface]*trace
	closed bool
	out    bytes.Buffer
	file   *pcapgo.NgWriter // into out
	full   []byte           // a frame with its header
	lost   uint64           // not written because of err

	// The goroutine's own.
	written, waiting uint64 // packets in the file, on their way there
	ready            bytes.Buffer
	err              error // why the file has no more packets
}

// A trace is what is taken from one interface.
type trace struct {
	number int // in the file
	ring   *Ring
	ports  map[netip.AddrPort]watched // addresses without zone
	drops  uint64
	frame  Frame
	packet Packet
	firsts [recentFirsts]fragmentKey // of which more is to come
	oldest int
}

// watched says whether a port is there, or since when it is not.
type watched struct{ gone owamp.Timestamp }

type fragmentKey struct {
	from, to  netip.Addr
	id        uint32
	direction Direction
}

// NewDump begins a file. The caller closes the Dump, and the file after that.
func NewDump(cfg DumpConfig) (*Dump, error) {
	d := &Dump{cfg: cfg, end: make(chan struct{}), traces: make(map[Interface]*trace)}
	// A file has an interface from its begin. There is always this one.
	options := pcapgo.DefaultNgWriterOptions
	options.SectionInfo.Application = "owl"
	var err error
	if d.file, err = pcapgo.NewNgWriterInterface(&d.out, described(Loopback), options); err != nil {
		return nil, fmt.Errorf("pcapng: %w", err)
	}
	if err := d.file.Flush(); err != nil {
		return nil, fmt.Errorf("pcapng: %w", err)
	}
	if err := d.write(); err != nil {
		return nil, err
	}
	d.run.Go(d.loop)
	return d, nil
}

func described(name string) pcapgo.NgInterface {
	return pcapgo.NgInterface{Name: name, OS: runtime.GOOS, LinkType: layers.LinkTypeLinuxSLL}
}

// Add makes the packets from and to a port go to the file. It must be called in
// the port's network namespace; device is what the port is bound to, if anything.
func (d *Dump) Add(port netip.AddrPort, device string) error {
	interfaces, err := Interfaces(port.Addr(), device)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errors.New("pcapng: the file is closed")
	}
	for _, iface := range interfaces {
		t := d.traces[iface]
		if t == nil {
			if t, err = d.open(iface); err != nil {
				return err
			}
		}
		t.ports[withoutZone(port)] = watched{}
		if err := t.setFilter(); err != nil {
			return err
		}
	}
	return nil
}

// Remove ends what Add began. What was sent and received before goes to the file.
func (d *Dump) Remove(port netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	port = withoutZone(port)
	for _, t := range d.traces {
		if w, ok := t.ports[port]; ok && w.gone == 0 {
			t.ports[port] = watched{gone: owamp.FromTime(time.Now())}
		}
	}
}

func withoutZone(port netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(port.Addr().WithZone(""), port.Port())
}

// open begins to watch an interface. d.mu is held.
func (d *Dump) open(iface Interface) (*trace, error) {
	none, err := Filter(nil, true)
	if err != nil {
		return nil, err
	}
	t := &trace{ports: make(map[netip.AddrPort]watched)}
	t.ring, err = OpenRing(RingConfig{Interface: iface, Filter: none, Outgoing: true, Size: dumpSize, Retire: dumpRetire})
	if err != nil {
		return nil, err
	}
	if iface.Name != Loopback {
		if t.number, err = d.file.AddInterface(described(iface.Name)); err != nil {
			return nil, errors.Join(fmt.Errorf("pcapng: %w", err), t.ring.Close())
		}
	}
	d.traces[iface] = t
	return t, nil
}

func (t *trace) setFilter() error {
	numbers := make([]uint16, 0, len(t.ports))
	for p := range t.ports {
		numbers = append(numbers, p.Port())
	}
	slices.Sort(numbers)
	filter, err := Filter(slices.Compact(numbers), true)
	if err != nil {
		return err
	}
	return t.ring.SetFilter(filter)
}

// forget drops the ports that have long been gone.
func (t *trace) forget(now owamp.Timestamp) error {
	before := len(t.ports)
	for p, w := range t.ports {
		if w.gone != 0 && now.Sub(w.gone).Abs() > afterwards {
			delete(t.ports, p)
		}
	}
	if len(t.ports) == before {
		return nil
	}
	return t.setFilter()
}

// loop writes until the Dump is closed, and what is left then.
func (d *Dump) loop() {
	ticker := time.NewTicker(dumpEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			d.take()
		case <-d.end:
			return
		}
	}
}

// take writes what the kernel has handed over.
func (d *Dump) take() {
	for more := true; more; {
		more = d.collect()
		if d.err == nil {
			if d.err = d.write(); d.err != nil {
				d.cfg.Log.Error("no more packets are written to the file", "error", d.err)
			}
		}
	}
}

// collect fills the buffer and reports whether there is more than it should hold.
func (d *Dump) collect() (more bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := owamp.FromTime(time.Now())
	for _, t := range d.traces {
		for d.out.Len() < dumpAtOnce && t.ring.Next(&t.frame) {
			if t.wants(d.cfg.Except) {
				d.add(t)
			}
		}
		if d.out.Len() >= dumpAtOnce {
			more = true
			break
		}
		if s, err := t.ring.Stats(); err == nil {
			t.drops += s.Drops
		}
		// What a filter that cannot be changed takes too much is not wanted.
		_ = t.forget(now)
	}
	return more
}

// wants reports whether the frame belongs into the file.
func (t *trace) wants(except []netip.AddrPort) bool {
	p, f := &t.packet, &t.frame
	kind := p.Parse(f)
	if kind != Datagram && kind != Fragment {
		return false
	}
	key := fragmentKey{p.Source.Addr(), p.Destination.Addr(), p.part.id, f.Direction}
	if kind == Fragment && p.part.offset != 0 {
		return slices.Contains(t.firsts[:], key)
	}
	port := p.Destination
	if f.Direction == Sent {
		port = p.Source
		if slices.Contains(except, p.Destination) {
			return false
		}
	}
	w, ok := t.ports[port]
	if !ok || w.gone != 0 && f.Time.After(w.gone) {
		return false
	}
	if kind == Fragment {
		t.firsts[t.oldest] = key
		t.oldest = (t.oldest + 1) % len(t.firsts)
	}
	return true
}

// add puts a frame into the buffer. d.mu is held.
func (d *Dump) add(t *trace) {
	if d.err != nil {
		d.lost++
		return
	}
	f := &t.frame
	b := d.full[:0]
	b = binary.BigEndian.AppendUint16(b, uint16(f.Direction))
	b = binary.BigEndian.AppendUint16(b, f.Link)
	b = binary.BigEndian.AppendUint16(b, uint16(f.AddressSize))
	b = append(b, f.Address[:]...)
	if f.HasTag {
		b = binary.BigEndian.AppendUint16(b, f.TagType)
		b = binary.BigEndian.AppendUint16(b, f.Tag)
	}
	b = binary.BigEndian.AppendUint16(b, f.Type)
	header := len(b)
	b = append(b, f.Data...)
	d.full = b
	err := d.file.WritePacket(gopacket.CaptureInfo{
		Timestamp:      f.Time.Time(),
		CaptureLength:  len(b),
		Length:         max(header+f.Length, len(b)),
		InterfaceIndex: t.number,
	}, b)
	if err == nil {
		err = d.file.Flush() // to the buffer
	}
	if err != nil {
		d.lost++ // what does not fit into the format
		return
	}
	d.waiting++
}

// write writes what is in the buffer to the file.
func (d *Dump) write() error {
	d.mu.Lock()
	d.ready.Reset()
	_, err := d.out.WriteTo(&d.ready)
	d.mu.Unlock()
	if err == nil && d.ready.Len() > 0 {
		_, err = d.cfg.Writer.Write(d.ready.Bytes())
	}
	if err != nil {
		d.lost += d.waiting
		d.waiting = 0
		return fmt.Errorf("pcapng: %w", err)
	}
	d.written += d.waiting
	d.waiting = 0
	return nil
}

// Close writes what has been sent and received until now, says in the log how
// many packets are in the file, and returns why they are not all that there were,
// if the file could not be written. It may be called more than once.
func (d *Dump) Close() error {
	d.mu.Lock()
	closed := d.closed
	d.closed = true
	d.mu.Unlock()
	if closed {
		return nil
	}
	close(d.end)
	d.run.Wait()
	d.takeRest()
	var errs []error
	dropped := d.lost
	for _, t := range d.traces {
		dropped += t.drops
		if d.err == nil {
			_ = d.file.WriteInterfaceStats(t.number, pcapgo.NgInterfaceStatistics{
				LastUpdate:      time.Now(),
				PacketsReceived: pcapgo.NgNoValue64,
				PacketsDropped:  t.drops,
			})
		}
		errs = append(errs, t.ring.Close())
	}
	if d.err == nil {
		_ = d.file.Flush()
		d.err = d.write()
	}
	d.cfg.Log.Info(fmt.Sprintf("pcapng: %d packets written, %d left out", d.written, dropped))
	return errors.Join(append(errs, d.err)...)
}

// takeRest waits until the kernel has handed over what has come until now, and
// writes that.
func (d *Dump) takeRest() {
	d.take()
	open := make(map[*trace]uint64) // the block that the kernel fills
	for _, t := range d.traces {
		open[t] = t.ring.Taken()
	}
	for waited := time.Duration(0); waited < 20*dumpRetire; waited += dumpRetire / 4 {
		maps.DeleteFunc(open, func(t *trace, block uint64) bool { return t.ring.Quiet() || t.ring.Taken() > block })
		if len(open) == 0 {
			return
		}
		time.Sleep(dumpRetire / 4)
		d.take()
	}
}
