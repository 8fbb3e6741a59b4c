package capture

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket/pcapgo"
)

// A shared file is written by a Dump and read by a test.
type shared struct {
	mu    sync.Mutex
	bytes bytes.Buffer
	fail  error
	more  chan struct{}
}

func newShared() *shared { return &shared{more: make(chan struct{}, 1)} }

func (s *shared) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
	if s.fail != nil {
		return 0, s.fail
	}
	return s.bytes.Write(b)
}

// packets reads the file as it is now and returns how many packets it has.
func (s *shared) packets(t *testing.T) (n int) {
	t.Helper()
	s.mu.Lock()
	b := bytes.Clone(s.bytes.Bytes())
	s.mu.Unlock()
	r, err := pcapgo.NewNgReader(bytes.NewReader(b), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for {
		_, ci, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			t.Fatalf("packet %d: %v", n, err)
		}
		if ci.CaptureLength != ci.Length {
			t.Errorf("packet %d: %d of %d octets", n, ci.CaptureLength, ci.Length)
		}
		n++
	}
}

func newDump(t *testing.T, w io.Writer, except ...netip.AddrPort) (d *Dump, log *strings.Builder) {
	t.Helper()
	if err := Available(); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	log = new(strings.Builder)
	d, err := NewDump(DumpConfig{Writer: w, Log: slog.New(slog.NewTextHandler(log, nil)), Except: except})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, log
}

// pair returns two sockets on the loopback interface and their addresses.
func pair(t *testing.T) (a, b *net.UDPConn, from, to netip.AddrPort) {
	t.Helper()
	var conns [2]*net.UDPConn
	for i := range conns {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		conns[i] = c
	}
	return conns[0], conns[1], conns[0].LocalAddr().(*net.UDPAddr).AddrPort(), conns[1].LocalAddr().(*net.UDPAddr).AddrPort()
}

// A file can be read while it grows; it has what concerns the port alone, and
// what came before the port was gone.
func TestDump(t *testing.T) {
	file := newShared()
	a, b, from, to := pair(t)
	_, _, sink, _ := pair(t)
	d, log := newDump(t, file, sink)
	if n := file.packets(t); n != 0 {
		t.Errorf("%d packets in a new file", n)
	}
	if err := d.Add(from, ""); err != nil {
		t.Fatal(err)
	}
	a.WriteToUDPAddrPort([]byte("sent"), to)
	b.WriteToUDPAddrPort([]byte("received"), from)
	b.WriteToUDPAddrPort([]byte("nobody's"), to)
	a.WriteToUDPAddrPort([]byte("a copy"), sink)
	a.WriteToUDPAddrPort(make([]byte, 60000), to)
	for deadline := time.After(10 * time.Second); file.packets(t) < 3; {
		select {
		case <-file.more:
		case <-deadline:
			t.Fatalf("%d packets within 10 s, want 3", file.packets(t))
		}
	}
	a.WriteToUDPAddrPort([]byte("last"), to)
	d.Remove(from)
	a.WriteToUDPAddrPort([]byte("too late"), to)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if n := file.packets(t); n != 4 {
		t.Errorf("%d packets, want 4", n)
	}
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "pcapng: 4 packets written, 0 left out") {
		t.Errorf("log %q, want one line that says 4 packets", text)
	}
	if err := d.Add(from, ""); err == nil {
		t.Error("a port is added to a file that is closed")
	}
}

// A file that cannot be written is said at once, once, and what it lacks is
// counted.
func TestDumpFails(t *testing.T) {
	file := newShared()
	a, _, from, to := pair(t)
	d, log := newDump(t, file)
	if err := d.Add(from, ""); err != nil {
		t.Fatal(err)
	}
	full := errors.New("no space left")
	file.mu.Lock()
	file.fail = full
	file.mu.Unlock()
	<-file.more // of the begin
	const n = 5
	for range n {
		a.WriteToUDPAddrPort([]byte("sent"), to)
	}
	if err := d.Close(); !errors.Is(err, full) {
		t.Errorf("Close: %v, want %v", err, full)
	}
	text := log.String()
	if strings.Count(text, "no space left") != 1 || !strings.Contains(text, "pcapng: 0 packets written, 5 left out") {
		t.Errorf("log %q, want the error once and 5 packets left out", text)
	}
	file.fail = full
	if _, err := NewDump(DumpConfig{Writer: file}); !errors.Is(err, full) {
		t.Errorf("NewDump: %v, want %v", err, full)
	}
}
