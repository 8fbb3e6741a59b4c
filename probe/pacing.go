package probe

import (
	"fmt"
	"time"
)

// A Pacing is how much processor time an [Engine] pays for sending each packet
// when it is due. It moves the time at which a packet is sent, never its stamp,
// which is taken when it is sent.
type Pacing uint8

const (
	// PacingNormal sleeps until shortly before a packet is due, by as much as
	// this host has been seen to wake up late, and waits out the rest awake.
	PacingNormal Pacing = iota
	// PacingPrecise is awake so early that the packet leaves within
	// microseconds, at up to one processor's cost.
	PacingPrecise
	// PacingEconomy lets the kernel wake it late, so that packets which are due
	// at about the same time are sent after one sleep, and reads those that
	// arrive in greater batches.
	PacingEconomy
)

var pacings = [...]string{PacingNormal: "normal", PacingPrecise: "precise", PacingEconomy: "economy"}

// ParsePacing reads what [Pacing.String] returns: normal, precise or economy.
func ParsePacing(s string) (Pacing, error) {
	for p, name := range pacings {
		if s == name {
			return Pacing(p), nil
		}
	}
	return 0, fmt.Errorf("pacing %q: want precise, normal or economy", s)
}

// String returns the name of the pacing.
func (p Pacing) String() string {
	if int(p) < len(pacings) {
		return pacings[p]
	}
	return fmt.Sprintf("pacing %d", uint8(p))
}

const (
	// spin is how long before a packet is due PacingPrecise is awake: what a
	// thread needs to wake up, even in a virtual machine, and some more.
	spin = 60 * time.Microsecond
	// economySlack is how late PacingEconomy may be woken.
	economySlack = 300 * time.Microsecond
	// wakeStep is by how much a single sleep moves the estimate of wakeMeter.
	wakeStep = 500 * time.Nanosecond
)

// Arrived packets wait for others, so that all are read at once: the longer, the
// cheaper. But they must fit into the socket's buffer, which has room for fewer
// than 300 where nobody allows the process a greater one.
const (
	normalGather  = 4 * time.Millisecond
	economyGather = 10 * time.Millisecond
	// busyGather is what is left of that when a port had more packets than
	// busyPort the last time.
	busyGather = 2 * time.Millisecond
	busyPort   = 128
)

// gather returns how long packets wait in the socket for others while there are
// not many.
func (p Pacing) gather() time.Duration {
	if p == PacingEconomy {
		return economyGather
	}
	return normalGather
}

// A wakeMeter learns how late this host wakes up a thread that has slept: the
// lower quartile, which one of four sleeps does not exceed, so that little time
// is spent on waiting awake. It follows changes within some hundred sleeps, and
// no single sleep matters much to it.
type wakeMeter struct{ late time.Duration }

// observe takes in a sleep that ended late by d, negative if it ended early.
func (w *wakeMeter) observe(d time.Duration) {
	if d > w.late {
		w.late += wakeStep
	} else {
		w.late -= 3 * wakeStep
	}
	w.late = min(max(w.late, 0), spin)
}
