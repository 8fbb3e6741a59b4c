package probe

import (
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"time"

	"owl/owamp"
	"owl/owamp/schedule"
	"owl/probe/clock"
)

// Config describes an [Engine].
type Config struct {
	// Clock is what stamps packets. It is needed.
	Clock *clock.Clock
	// Log is told once if the kernel gives no time stamps, and of each interface
	// whether its network card does; nil: nobody is.
	Log *slog.Logger
	// Gather is how long arrived packets may wait in the socket for others, so
	// that all are read at once; 0: 4 ms, or 10 ms with PacingEconomy, and less
	// while there are many. It does not touch any time stamp.
	Gather time.Duration
	// Transmit is how packets are handed to the kernel; see there. TransmitRaw
	// takes its privilege whenever a port is opened, as CaptureRaw does.
	Transmit Transmit
	// Pacing is how packets are sent on time; see there.
	Pacing Pacing
	// Cold says that the first packet after a rest is sent without preparation.
	// Otherwise copies of it are sent over the loopback interface just before,
	// so that the sending itself takes no longer than that of any other packet.
	Cold bool
	// UserStamps says that the kernel's time stamps are not to be used.
	UserStamps bool
	// Capture is how packets are received; see there. CaptureRaw takes its
	// privilege whenever a port is opened, so that a process which gives up
	// others keeps that one.
	Capture Capture
	// Pcap, if not nil, gets the packets that are sent from and received on the
	// engine's ports, as pcapng; see package capture. It is written to by one
	// goroutine, whole blocks at a time and at least each second, until the
	// engine is closed, and needs the privilege of CaptureRaw.
	Pcap io.Writer
}

// ErrPairBusy says that another session on the same port has the same peer.
var ErrPairBusy = errors.New("another session has the same local port and peer")

// A Batch takes records of a session, in the order of their arrival. It is
// called on the receiving thread, or by the goroutine that calls
// [Receiving.Drain], never twice at a time, and must not block, allocate or
// log, nor call methods of the [Receiving] or its [Port]. The records are valid
// until it returns.
type Batch func(recs []owamp.Record)

// ReceiveSpec describes a session to receive.
type ReceiveSpec struct {
	Remote netip.AddrPort // where its packets come from
	Opener *owamp.Opener
	// Size is the expected length of a datagram in octets, padding included.
	// Shorter ones are ignored, of longer ones the rest is.
	Size int
}

// ReceiveStats counts what else became of a session's packets.
type ReceiveStats struct {
	Received  uint64 // delivered as records
	Short     uint64 // ignored: shorter than expected
	Malformed uint64 // ignored: not a packet of the session
	// Drops are packets that the socket has dropped because nobody read them
	// in time. Nobody knows whose they were: each is counted once, by that
	// session of the port which is asked, or closed, first.
	Drops uint64
}

// PortStats counts what concerns no session of a port.
type PortStats struct {
	Strangers uint64 // packets that no session expected
	Drops     uint64 // packets that the socket has dropped
}

// SendSpec describes a session to send.
type SendSpec struct {
	Remote   netip.AddrPort // where its packets go
	Start    owamp.Timestamp
	Schedule *schedule.Generator // at the session's begin; not advanced; see [schedule.Horizon]
	Packets  uint32
	// Timeout is how late a packet may still be sent; later, it is skipped.
	Timeout owamp.Interval
	Sealer  *owamp.Sealer
	SID     owamp.SID
	// Padding is how many octets follow each packet.
	Padding uint32
	// PadSource gives the padding, which is the same for all packets; nil:
	// zeros.
	PadSource io.Reader
	DSCP      uint8
	// Done, if not nil, is called once all packets are sent or skipped, or so many
	// ranges of them are skipped that the session ends early, on a goroutine of
	// its own. It is not called for a session that was stopped before.
	Done func()
}

// SendProgress is how far the sending of a session has come.
type SendProgress struct {
	Sent, Skipped uint32
	// Slip is how long after its scheduled time, or the begin of the session if that
	// was later, the last packet was stamped, MaxSlip the greatest slip of all.
	Slip, MaxSlip time.Duration
	// Gap is how long after its stamp the packet has left about which the kernel
	// has told last; 0: none yet.
	Gap time.Duration
	// Err is the last error of the kernel, nil if there was none.
	Err error
}
