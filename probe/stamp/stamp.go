// Package stamp deals with what the Linux kernel says of a datagram beside its
// octets: when it arrived or left, and the TTL and traffic class that it had.
//
// A time stamp of the kernel is worth nothing if it was not taken on arrival.
// The kernel stamps packets only while some socket asks for it, and switches
// that on lazily: a socket that has just asked may get packets whose stamp is the
// time at which they were read. A [Source] holds one such socket open, and has
// seen true stamps before it says that there are any.
//
// What leaves is stamped if a [Request] asks for it, and the stamp comes back as a
// [Report]. Stamps of network cards are by clocks of their own; a [Card] turns
// them into times.
package stamp

import (
	"time"

	"owl/owamp"
)

// An Arrival is what the control messages of a received datagram say.
type Arrival struct {
	Time owamp.Timestamp // of arrival by the kernel's wall clock; 0: no stamp
	TTL  uint8           // TTL or hop limit, 255 if unknown
	DSCP uint8
	// HasDSCP says that DSCP is known.
	HasDSCP bool
	// Card is the time of arrival by the clock of the network card with the
	// index Interface, in nanoseconds since an epoch of its own; 0: no stamp.
	// Only with [EnableReports].
	Card      int64
	Interface uint32
	// Drops counts the packets that the socket had dropped when this one was
	// queued, since it was opened; it wraps around.
	Drops uint32
}

// unknownWake is the read latency that is assumed where it could not be
// measured: much for a host that is alive.
const unknownWake = time.Millisecond

// A Source is the assurance that the kernel stamps datagrams on arrival, for as
// long as it is open.
type Source struct {
	// Err is why the kernel's stamps cannot be trusted; nil: they can be.
	Err error
	// Precision is the longest time that was measured on the loopback
	// interface between the begin of sending and the kernel's stamp.
	Precision time.Duration
	// Wake is the longest time that was measured there between the begin of
	// sending and a waiting thread being awake: how late a stamp is that is
	// taken by reading the clock then.
	Wake time.Duration
	// Departures say whether the kernel reports when packets leave.
	Departures Departures

	socket int
}

// Departures say whether the kernel reports when packets leave.
type Departures struct {
	// Err is why not; nil: it does.
	Err error
	// OwnIDs says that reports can have the numbers that [NewRequest] means by
	// own.
	OwnIDs bool
}
