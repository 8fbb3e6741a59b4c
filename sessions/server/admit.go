package server

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"owl/owamp"
	"owl/owamp/schedule"
	"owl/sessions/policy"
	"owl/sessions/ports"
)

// A refusal is a request that is answered with no.
type refusal struct {
	accept owamp.Accept
	reason string
}

func (r *refusal) Error() string { return r.reason }

func refuse(a owamp.Accept, format string, args ...any) *refusal {
	return &refusal{a, fmt.Sprintf(format, args...)}
}

// scarce are the errors of what there may be more of at another time.
var scarce = []error{
	syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS,
	syscall.EADDRINUSE, ports.ErrNoPort, errStored,
}

// refused logs why what was asked for is refused, and returns what to answer:
// to what the limits deny, reject, as the reference does.
func (c *conversation) refused(what string, err error) owamp.Accept {
	accept := owamp.AcceptInternalError
	if r, ok := errors.AsType[*refusal](err); ok {
		accept = r.accept
	} else if _, denied := errors.AsType[*policy.DeniedError](err); denied {
		accept = owamp.AcceptReject
	} else if slices.ContainsFunc(scarce, func(e error) bool { return errors.Is(err, e) }) {
		accept = owamp.AcceptTemporaryLimit
	}
	c.denials.say(c.log, c.peer.Addr, fmt.Sprintf("%s not allowed: %v: %v", what, accept, err))
	return accept
}

// admit says whether a session can be had at all, whatever others hold.
func (c *conversation) admit(spec *owamp.SessionSpec) error {
	class, err := c.count()
	if err != nil {
		return err
	}
	peer := spec.Sender
	if spec.ConfSender {
		peer = spec.Receiver
	}
	mean := spec.MeanInterval()
	maxPadding := maxPayload - owamp.PacketSize(c.client.Mode)
	ahead := spec.Start.Sub(c.cfg.Clock.Now())
	switch {
	case peer.Port() == 0 || peer.Addr().IsUnspecified():
		return refuse(owamp.AcceptReject, "test with %v: want an address and a port", peer)
	case spec.Packets > 1 && mean < minInterval:
		return refuse(owamp.AcceptPermanentLimit, "a packet each %v: want 1 µs or more", mean.Duration())
	case uint64(spec.Padding) > uint64(maxPadding):
		return refuse(owamp.AcceptPermanentLimit, "padding of %d octets: want at most %d", spec.Padding, maxPadding)
	case ahead > maxAhead:
		// Time stamps wrap around: its packets might as well be overdue.
		return refuse(owamp.AcceptPermanentLimit, "its start is %v ahead: want at most %v", ahead.Round(time.Second), maxAhead)
	case spec.ConfSender && !class.ThirdParty() && spec.Receiver.Addr().Unmap() != c.peer.Addr.WithZone(""):
		// Else whoever asks could have anyone else flooded.
		return refuse(owamp.AcceptReject, "class %s: third_party = off: test to %v, want to %v", class.Name(), spec.Receiver.Addr(), c.peer.Addr)
	}
	return c.checkLate(spec)
}

// count counts a request of the peer, and returns its class.
func (c *conversation) count() (*policy.Class, error) {
	class := c.account.Class()
	if rate := class.RequestRate(); !c.requests.Allow(c.peer.Addr, rate, time.Now()) {
		return nil, refuse(owamp.AcceptTemporaryLimit, "class %s: request_rate = %d is used up", class.Name(), rate)
	}
	return class, nil
}

// demand returns what a session is to hold.
func (c *conversation) demand(spec *owamp.SessionSpec) policy.Request {
	r := policy.Request{Bandwidth: policy.BandwidthOf(spec, c.client.Mode), Sessions: 1}
	if spec.ConfSender {
		r.PacketRate = policy.PacketRateOf(spec)
	} else {
		r.Disk = policy.DiskOf(spec)
	}
	return r
}

// checkLate refuses a session so many packets of which are overdue that to
// declare them lost, or skipped, would keep this host busy.
func (c *conversation) checkLate(spec *owamp.SessionSpec) error {
	late := c.cfg.Clock.Now().Sub(spec.Start)
	if late <= 0 {
		return nil
	}
	gen, err := schedule.New(spec.SID, spec.Slots)
	if err != nil {
		return err
	}
	if overdue := min(gen.Within(owamp.IntervalOf(late)), uint64(spec.Packets)); overdue > maxLate {
		return refuse(owamp.AcceptPermanentLimit, "its start is %v ago, up to %d packets are overdue: want at most %d", late.Round(time.Second), overdue, maxLate)
	}
	return nil
}
