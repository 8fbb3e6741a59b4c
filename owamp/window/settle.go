package window

import "owl/owamp"

// A Ledger is how a session ended: each of its packets is in exactly one of
// the four states.
type Ledger struct {
	Received   uint32 // at least once
	Lost       uint32 // sent, but did not come within the timeout
	NotSent    uint32 // skipped by the sender
	NotCovered uint32 // the session ended before their time
}

// Settle closes the account of a session whose sender stopped before packet
// nextSeq and skipped skips, ranges that [owamp.ValidateSkips] accepts, as told
// by the Stop-Sessions that arrived at stopped (RFC 4656 section 3.8).
//
// What was sent, or if it did not come was due, less than a timeout before
// stopped is not covered: had it been lost, nobody could have told yet. For
// that to be exact no Expire may have gone more than a second beyond stopped.
//
// A sender that contradicts itself, by skipping what it sent, cannot make the
// states add up to anything but the packets of the session.
func (w *Window) Settle(nextSeq uint32, skips []owamp.SkipRange, stopped owamp.Timestamp) Ledger {
	w.settled = true
	nextSeq = min(nextSeq, w.packets)
	cut := stopped - owamp.Timestamp(w.timeout)

	// What has left the window is known by number only.
	l := Ledger{Received: w.left, Lost: w.first - w.left}
	l.NotCovered = w.first - min(w.first, nextSeq)
	fromLost := min(l.NotCovered, l.Lost)
	l.Lost -= fromLost
	l.Received -= l.NotCovered - fromLost
	l.NotSent = min(skipped(skips, 0, min(w.first, nextSeq)), l.Lost)
	l.Lost -= l.NotSent

	// What is in the window is known one by one.
	for seq := w.first; seq < w.next; seq++ {
		for len(skips) > 0 && skips[0].Last < seq {
			skips = skips[1:]
		}
		e := w.at(seq)
		switch {
		case seq >= nextSeq:
			l.NotCovered++
		case e.sent != 0 && e.sent.After(cut):
			l.NotCovered++
		case e.sent != 0:
			l.Received++
		case len(skips) > 0 && skips[0].First <= seq:
			l.NotSent++
		case e.scheduled.After(cut):
			l.NotCovered++
		default:
			l.Lost++
		}
	}

	// What would still have entered it did not come.
	rest := *w
	for rest.next < nextSeq && !rest.ahead().After(cut) {
		rest.next++
		rest.elapse()
	}
	lostSkipped := skipped(skips, w.next, rest.next)
	l.NotSent += lostSkipped
	l.Lost += rest.next - w.next - lostSkipped
	tail := max(rest.next, nextSeq)
	tailSkipped := skipped(skips, rest.next, tail)
	l.NotSent += tailSkipped
	l.NotCovered += w.packets - rest.next - tailSkipped
	return l
}

// SettleIncomplete closes the account of a session whose end the sender never
// told, because control was lost. What was received counts, and what was
// declared lost before the last packet that was received; nothing is known of
// the rest.
func (w *Window) SettleIncomplete() Ledger {
	w.settled = true
	l := Ledger{Received: w.received, Lost: w.lost}
	if w.seen < w.open {
		l.Lost -= w.open - w.seen
	}
	l.NotCovered = w.packets - l.Received - l.Lost
	return l
}

// skipped returns how many of the sequence numbers [first, end) are in skips,
// which are ascending; what is not ascending does not count.
func skipped(skips []owamp.SkipRange, first, end uint32) uint32 {
	n, from, to := uint64(0), uint64(first), uint64(end)
	for _, s := range skips {
		from = max(from, uint64(s.First))
		if last := min(uint64(s.Last)+1, to); last > from {
			n += last - from
			from = last
		}
	}
	return uint32(n)
}
