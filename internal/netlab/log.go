package netlab

import (
	"net/netip"
	"time"
)

// An Action is what a wire has done to a packet.
type Action uint8

const (
	// Delivered: it was handed to the receiver's device.
	Delivered Action = iota
	// Copied: the packet was delivered, and this is its duplicate.
	Copied
	// Lost: by chance, on its own or in a burst.
	Lost
	// CutOff: the path was down.
	CutOff
	// Expired: its TTL was too low for the path's hops.
	Expired
	// Refused: the receiver's device did not take it.
	Refused
)

// String returns the action in a word or two.
func (a Action) String() string {
	names := [...]string{"delivered", "copied", "lost", "cut off", "expired", "refused"}
	if int(a) < len(names) {
		return names[a]
	}
	return "unknown"
}

// An Entry is what a wire knows of one packet or of its duplicate.
type Entry struct {
	// Packet is the packet as it came in.
	Packet
	// N numbers the packets of a direction as they came in. A duplicate has the
	// number of its packet.
	N int
	// Action is what became of it.
	Action Action
	// In is when the kernel handed the packet to the sender's device. Like Out and
	// Done it is of the wall clock, without a monotonic reading.
	In time.Time
	// Out and Done are just before and just after it was handed to the receiver's
	// device; zero if it never was.
	Out, Done time.Time
	// OutTTL and OutDSCP are what it had then.
	OutTTL, OutDSCP uint8
}

// CameOut reports whether the packet, or duplicate, reached the far host.
func (e *Entry) CameOut() bool { return e.Action <= Copied }

// Between returns a filter for the UDP packets of one flow, for use with
// slices.DeleteFunc and its like.
func Between(from, to netip.AddrPort) func(Entry) bool {
	return func(e Entry) bool { return e.UDP() && e.From == from && e.To == to }
}

// Counts say what became of packets.
type Counts struct {
	// Packets have come in, of which Lost have not come out. Duplicated have come
	// out twice, and Reordered after a later one (RFC 4737 section 3.3; duplicates
	// have no part in that).
	Packets, Lost, Duplicated, Reordered int
}

// Tally counts what became of the packets of a log of one direction, or of those
// that a test has picked from it. A log is in the order in which fates were
// settled.
func Tally(log []Entry) Counts {
	var c Counts
	newest := -1
	for i := range log {
		e := &log[i]
		switch {
		case e.Action == Copied:
			c.Duplicated++
			continue
		case !e.CameOut():
			c.Lost++
		case e.N < newest:
			c.Reordered++
		default:
			newest = e.N
		}
		c.Packets++
	}
	return c
}
