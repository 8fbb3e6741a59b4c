package sessions

import (
	"fmt"
	"iter"
	"time"
)

// A State is what a stream is doing now.
type State uint8

const (
	StateIdle       State = iota // not begun
	StateConnecting              // no session runs yet: the peer is being asked
	StateRunning                 // at least one session measures
	StateWaiting                 // the peer is away or refuses; it is asked again later
	StateStopped                 // ended, for good
	states          = iota
)

// States yields every State.
func States() iter.Seq[State] {
	return func(yield func(State) bool) {
		for s := range State(states) {
			if !yield(s) {
				return
			}
		}
	}
}

// String returns the state's name in lower case, as metrics and status carry it.
func (s State) String() string {
	switch s {
	case StateIdle:
		return "idle"
	case StateConnecting:
		return "connecting"
	case StateRunning:
		return "running"
	case StateWaiting:
		return "waiting"
	case StateStopped:
		return "stopped"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// A GapReason says why time of a stream went unmeasured. Results, archives and
// metrics carry it as it is.
type GapReason string

const (
	GapPeerUnreachable GapReason = "peer_unreachable" // no connection could be made
	GapRefused         GapReason = "refused"          // the peer said no, to the connection or to the session
	GapHandshakeFailed GapReason = "handshake_failed" // the peer broke the protocol, or stalled, before the test
	GapControlLost     GapReason = "control_lost"     // the connection ended while a session ran
	GapClockInvalid    GapReason = "clock_invalid"    // a clock stepped, or cannot be trusted
	GapLocalOverload   GapReason = "local_overload"   // this host could not keep up
	GapRestarted       GapReason = "restarted"        // this program was not running
	GapNotConfigured   GapReason = "not_configured"   // nobody asked for a measurement
)

var gapReasons = [...]GapReason{
	GapPeerUnreachable, GapRefused, GapHandshakeFailed, GapControlLost,
	GapClockInvalid, GapLocalOverload, GapRestarted, GapNotConfigured,
}

// GapReasons yields every GapReason.
func GapReasons() iter.Seq[GapReason] {
	return func(yield func(GapReason) bool) {
		for _, r := range gapReasons {
			if !yield(r) {
				return
			}
		}
	}
}

// A Snapshot is what a stream knows of itself at one moment.
//
// Its counters run since the stream's start and never go back. Every scheduled
// packet settles in exactly one of Received, Lost, NotSent and NotCovered once
// its session is over; until then it is in Unresolved.
type Snapshot struct {
	State State

	Received   uint64 // arrived, each counted once
	Lost       uint64 // sent, and did not arrive within the time-out
	NotSent    uint64 // the sender says that it skipped them
	NotCovered uint64 // nobody can say: control was lost, or a clock was invalid

	LostBy   LossCount  // whose losses those of Lost were; adds up to it
	LastLoss *LossBurst // the last that was noticed, settled or not; nil: none. It is not changed

	Unresolved uint64 // scheduled until now and not settled
	Overdue    uint64 // those of Unresolved that have not come although their time-out is over

	Duplicates  uint64 // further copies of packets that had arrived
	Reordered   uint64 // arrived after a packet with a greater sequence number (RFC 4737 section 3)
	Late        uint64 // arrived after their time-out, and so are lost
	SocketDrops uint64 // this host dropped them for want of buffer space

	TTL, TTLMin, TTLMax uint8     // IP TTL or hop limit on arrival: of the last packet, least, greatest
	LastPacket          time.Time // when the last packet arrived; zero before the first

	ClockError  time.Duration // how far the local clock may be off, as time stamps state it
	ClockSynced bool          // the local clock is synchronized to UTC
	ClockSteps  uint64        // how often the local clock was set since the stream's start

	SendSlip    time.Duration // how long after its scheduled time the last packet was stamped; 0 where this host does not send
	TransmitGap time.Duration // from the send stamp to the kernel's own, as last sampled; 0 where there is none

	Gaps     map[GapReason]time.Duration // time that went unmeasured; not changed once handed out
	Measured time.Duration               // time that was measured
	Elapsed  time.Duration               // time since the stream's start
}

// Completeness returns how much of the stream's time was measured, from 0 to 1;
// ok is false while no time has passed.
func (s *Snapshot) Completeness() (ratio float64, ok bool) {
	if s.Elapsed <= 0 {
		return 0, false
	}
	return min(max(float64(s.Measured)/float64(s.Elapsed), 0), 1), true
}
