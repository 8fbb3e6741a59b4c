package sessions

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"time"

	"owl/owamp"
	"owl/probe"
	"owl/probe/host"
)

// A Cause says whose loss it was, as far as this host can tell of itself.
type Cause uint8

const (
	// CauseUnknown: nobody knows what this host did at that time.
	CauseUnknown Cause = iota
	// CauseNetwork: this host did nothing that loses packets, so the network
	// did, or the other host.
	CauseNetwork
	// CauseHostSuspect: this host did what may lose packets. That is no proof.
	CauseHostSuspect
	// CauseHost: this host dropped packets that came to that test port at that
	// time. Whose they were it does not know, so that it is an upper bound.
	CauseHost

	causes = iota
)

// Causes yields every Cause.
func Causes() iter.Seq[Cause] {
	return func(yield func(Cause) bool) {
		for c := range Cause(causes) {
			if !yield(c) {
				return
			}
		}
	}
}

// String returns the cause as metrics and status carry it.
func (c Cause) String() string {
	switch c {
	case CauseUnknown:
		return "unknown"
	case CauseNetwork:
		return "network"
	case CauseHostSuspect:
		return "host_suspect"
	case CauseHost:
		return "host"
	}
	return fmt.Sprintf("cause(%d)", uint8(c))
}

// A LossCount counts lost packets by [Cause].
type LossCount [causes]uint64

// Total returns how many packets were lost.
func (n *LossCount) Total() (total uint64) {
	for _, v := range n {
		total += v
	}
	return total
}

// Cause returns the gravest cause that has any, CauseUnknown if none has.
func (n *LossCount) Cause() Cause {
	for c := Cause(causes - 1); c > CauseUnknown; c-- {
		if n[c] > 0 {
			return c
		}
	}
	return CauseUnknown
}

// Add adds o to n.
func (n *LossCount) Add(o *LossCount) {
	for c, v := range o {
		n[c] += v
	}
}

// remove takes k packets away, or all if there are fewer, those first of which
// least is known.
func (n *LossCount) remove(k uint64) {
	for c := range n {
		m := min(n[c], k)
		n[c] -= m
		k -= m
	}
}

// A LossBurst is a run of consecutive packets of a session that were lost, a
// loss period of RFC 3357, and what this host did meanwhile. What lasts longer
// than ten seconds is cut, so that each part is held against its own time.
type LossBurst struct {
	Bursts      uint32          // how many bursts these are: 1, or more where there was no room for each
	First, Last uint32          // sequence numbers of the first and the last packet
	From, To    owamp.Timestamp // when these were due
	Lost        LossCount
	Incidents   probe.Incidents
	Activity    host.Activity
}

// join makes b cover o, too, which is later.
func (b *LossBurst) join(o *LossBurst) {
	if b.Bursts == 0 {
		*b = *o
		return
	}
	b.Bursts += o.Bursts
	b.Last, b.To = o.Last, o.To
	b.Lost.Add(&o.Lost)
	b.Incidents.Add(o.Incidents)
	b.Activity.Add(o.Activity)
}

// Evidence says of the lost packets of a session whose losses they were.
type Evidence struct {
	Lost   LossCount   // adds up to the packets that were lost
	Bursts []LossBurst // in the order of time; neighbours are joined where there were more than 16
}

// A Host says what this host did in some time; *host.Monitor is one.
type Host interface {
	// Watch says that test packets go through this address of the host.
	Watch(local netip.Addr)
	// Between returns what the host did between two times.
	Between(from, to owamp.Timestamp) host.Activity
}

const (
	// maxBursts bounds the bursts that are kept of a session.
	maxBursts = 16
	// maxBurst bounds how long one is.
	maxBurst = 10 * time.Second
	// A lost packet would have come when those before it and after it came, or
	// somewhat earlier or later.
	arrivalMargin = 250 * time.Millisecond
	// As long as none came, nobody knows how far it is and how wrong the peer's
	// clock is.
	blindMargin = time.Second
)

// A trial finds out whose losses those of a session were. Its owner calls one
// method at a time.
type trial struct {
	host      Host                                           // nil: there is none
	incidents func(from, to owamp.Timestamp) probe.Incidents // of the session's port; nil: nobody knows
	inside    func() uint64                                  // packets that were lost inside this program; nil: none
	sends     bool                                           // this host sends
	told      func(*LossBurst)                               // of each burst; nil: nobody wants to know
	sent      *owamp.SendReport                              // what this host has sent; nil where it receives

	delay              time.Duration   // of the last packet, by both clocks
	came               bool            // one has come
	counted            uint64          // of inside
	claimFrom, claimTo owamp.Timestamp // bursts from this to that time
	claimed            uint64          // account for so many drops
	open               LossBurst       // the burst that goes on; none if it has no Bursts
	evidence           Evidence
}

// arrived takes note of a packet that has arrived.
func (t *trial) arrived(r *owamp.Record) { t.delay, t.came = r.Recv.Sub(r.Sent), true }

// lost takes note of a packet that is lost. They come in the order of their
// numbers.
func (t *trial) lost(r *owamp.Record) {
	if t.sent != nil && (r.Seq >= t.sent.NextSeq || skipped(t.sent.Skips, r.Seq)) {
		return
	}
	switch b := &t.open; {
	case b.Bursts == 0:
	case r.Seq == b.Last+1 && r.Sent.Sub(b.From) < maxBurst:
		b.Last, b.To = r.Seq, r.Sent
		return
	default:
		t.close()
	}
	t.open = LossBurst{Bursts: 1, First: r.Seq, Last: r.Seq, From: r.Sent, To: r.Sent}
}

// settled says that all packets below a number have arrived or are lost.
func (t *trial) settled(below uint32) {
	if t.open.Bursts > 0 && below > t.open.Last+1 {
		t.close()
	}
}

// close judges the burst that goes on, which has ended.
func (t *trial) close() {
	if t.open.Bursts == 0 {
		return
	}
	b := t.open
	t.open = LossBurst{}
	t.judge(&b)
	t.keep(&b)
	if t.told != nil {
		t.told(&b)
	}
}

// judge finds out what this host did when the packets of b would have come, or
// when they were sent.
func (t *trial) judge(b *LossBurst) {
	from, to := b.From.AddDuration(-arrivalMargin), b.To.AddDuration(arrivalMargin)
	switch {
	case t.sends:
	case t.came:
		from, to = from.AddDuration(t.delay), to.AddDuration(t.delay)
	default:
		from, to = b.From.AddDuration(-blindMargin), b.To.AddDuration(blindMargin)
	}
	if t.host != nil {
		b.Activity = t.host.Between(from, to)
	}
	drops, inside := uint64(0), uint64(0)
	if t.incidents != nil {
		b.Incidents = t.incidents(from, to)
		drops = t.unclaimed(from, to, b.Incidents.Drops)
	}
	if t.inside != nil {
		n := t.inside()
		inside, t.counted = n-t.counted, n
		b.Incidents.Drops += inside
	}
	t.divide(b, inside+drops)
	t.claimed += b.Lost[CauseHost] - min(b.Lost[CauseHost], inside)
}

// unclaimed returns how many of the drops between from and to may be held
// against another burst: two bursts that are not far from each other are not both
// those of the same drops, of which it may be known only that they were between
// two packets that are seconds apart.
func (t *trial) unclaimed(from, to owamp.Timestamp, drops uint64) uint64 {
	if t.claimed == 0 || from.Sub(t.claimTo) > maxBurst {
		t.claimFrom, t.claimed = from, 0
	} else {
		all := t.incidents(t.claimFrom, to).Drops
		drops = min(drops, all-min(all, t.claimed))
	}
	t.claimTo = to
	return drops
}

// divide says whose the packets of b are, if this host has dropped so many.
func (t *trial) divide(b *LossBurst, drops uint64) {
	n := uint64(b.Last-b.First) + 1
	in, act := &b.Incidents, &b.Activity
	rest := CauseUnknown
	if t.sends {
		switch {
		case in.Refused > 0 || in.LateSends > 0 || act.CostsDepartures():
			rest = CauseHostSuspect
		case act.Known:
			rest = CauseNetwork
		}
	} else {
		b.Lost[CauseHost] = min(n, drops)
		switch {
		case in.LateReads > 0 || act.CostsArrivals():
			rest = CauseHostSuspect
		case t.incidents != nil || act.Known:
			rest = CauseNetwork
		}
	}
	b.Lost[rest] += n - b.Lost[CauseHost]
}

// keep adds b to the evidence. Where there is no room two neighbours become one,
// those that have the fewest packets.
func (t *trial) keep(b *LossBurst) {
	bursts := &t.evidence.Bursts
	*bursts = append(*bursts, *b)
	if len(*bursts) <= maxBursts {
		return
	}
	least, at := uint64(0), 0
	for i := range len(*bursts) - 1 {
		n := (*bursts)[i].Lost.Total() + (*bursts)[i+1].Lost.Total()
		if i == 0 || n < least {
			least, at = n, i
		}
	}
	(*bursts)[at].join(&(*bursts)[at+1])
	*bursts = slices.Delete(*bursts, at+1, at+2)
}

// end ends the trial of a session in which, after all, so many packets were
// lost: what the sender reports that it did not send was not, and what was
// declared last may not count. Reported is nil where there is no report, or where
// it was known before any packet was found to be lost.
func (t *trial) end(lost uint64, reported *owamp.SendReport) Evidence {
	t.close()
	e := &t.evidence
	e.Lost = LossCount{}
	for i := range e.Bursts {
		b := &e.Bursts[i]
		if reported != nil {
			b.Lost.remove(unsent(reported, b.First, b.Last))
		}
		e.Lost.Add(&b.Lost)
	}
	for i := len(e.Bursts) - 1; i >= 0 && e.Lost.Total() > lost; i-- {
		b := &e.Bursts[i]
		before := b.Lost
		b.Lost.remove(e.Lost.Total() - lost)
		for c := range b.Lost {
			e.Lost[c] -= before[c] - b.Lost[c]
		}
	}
	e.Bursts = slices.DeleteFunc(e.Bursts, func(b LossBurst) bool { return b.Lost.Total() == 0 })
	e.Lost[CauseUnknown] += lost - e.Lost.Total()
	return *e
}

// unsent returns how many of the packets from first to last were not sent.
func unsent(sent *owamp.SendReport, first, last uint32) (n uint64) {
	if last >= sent.NextSeq {
		n = uint64(last-max(first, sent.NextSeq)) + 1
		if first >= sent.NextSeq {
			return n
		}
		last = sent.NextSeq - 1
	}
	for _, s := range sent.Skips {
		if from, to := max(s.First, first), min(s.Last, last); from <= to {
			n += uint64(to-from) + 1
		}
	}
	return n
}
