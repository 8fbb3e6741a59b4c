package probe

import (
	"io"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"owl/owamp"
)

// fill sends the packets from seq to end, without end, to a port.
func fill(t *testing.T, peer io.Writer, seq, end uint32) {
	t.Helper()
	for ; seq < end; seq++ {
		if _, err := peer.Write(packet(seq, 14)); err != nil {
			t.Fatal(err)
		}
	}
}

// Each packet tells how many the socket had dropped before it, so that it is
// known between which packets: not before them, nor after.
func TestDropsHaveTheirTime(t *testing.T) {
	e := newEngine(t, Config{Gather: time.Hour}) // nobody reads
	p := listen(t, e, loopback4)
	if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil { // the least there is
		t.Fatal(err)
	}
	peer, from := raw(t, p)
	in := newInbox()
	r := receive(t, p, from, 14, in.batch)
	other := receive(t, p, netip.AddrPortFrom(from.Addr(), 1), 14, in.batch)

	begin := e.clock.Now()
	fill(t, peer, 0, 1)
	r.Drain()
	calm := e.clock.Now()
	fill(t, peer, 1, 101) // few of them fit
	overflown := e.clock.Now()
	r.Drain()
	fill(t, peer, 101, 102)
	r.Drain()
	again := e.clock.Now()
	fill(t, peer, 102, 103)
	r.Drain()
	end := e.clock.Now()

	received := r.Stats().Received
	dropped := 103 - received
	if dropped == 0 {
		t.Fatal("nothing was dropped")
	}
	for _, tt := range []struct {
		name     string
		from, to owamp.Timestamp
		want     uint64
	}{
		{"before", begin.AddDuration(-time.Hour), begin, 0},
		{"while it was full", calm, overflown, dropped},
		{"in all", begin, end, dropped},
		{"after", again, end, 0},
		{"later", end.AddDuration(time.Second), end.AddDuration(time.Hour), 0},
	} {
		if got := r.Incidents(tt.from, tt.to).Drops; got != tt.want {
			t.Errorf("%s: %d drops, want %d", tt.name, got, tt.want)
		}
		if got := other.Incidents(tt.from, tt.to).Drops; got != tt.want {
			t.Errorf("%s: %d drops by another session of the port, want %d", tt.name, got, tt.want)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if got := r.Incidents(calm, overflown).Drops; got != dropped {
		t.Errorf("%d drops after the port was closed, want %d", got, dropped)
	}
}

// What is dropped last, so that no packet tells of it, is asked for.
func TestDropsThatNoPacketTellsOf(t *testing.T) {
	e := newEngine(t, Config{Gather: time.Hour})
	p := listen(t, e, loopback4)
	if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
		t.Fatal(err)
	}
	peer, from := raw(t, p)
	r := receive(t, p, from, 14, newInbox().batch)
	begin := e.clock.Now()
	fill(t, peer, 0, 100)
	r.Drain()
	st := r.Stats()
	if got := r.Incidents(begin, e.clock.Now()).Drops; got == 0 || got != 100-st.Received {
		t.Errorf("%d drops, want %d", got, 100-st.Received)
	}
}
