package probe

import (
	"sync"
	"time"

	"owl/owamp"
)

// Incidents are what this host did to test packets in some time: what may have
// cost packets that are missing.
type Incidents struct {
	// Drops are packets that the socket, or the ring of its interface, had no
	// room for. Nobody knows whose they were, so that they are an upper bound
	// for each session of the port, not a sum over them.
	Drops uint64
	// LateReads counts how often arrived packets were read at least [LateWake]
	// later than planned, LateRead is the most that it was.
	LateReads uint64
	LateRead  time.Duration
	// LateSends counts how often packets were sent, or given up, at least
	// [LateWake] after their scheduled time, or the begin of their session if that
	// was later; LateSend is the most that it was.
	LateSends uint64
	LateSend  time.Duration
	// Refused counts how often the kernel refused to send a packet, which the
	// engine may have tried again.
	Refused uint64
}

// Add adds what happened in another time.
func (in *Incidents) Add(o Incidents) {
	in.Drops += o.Drops
	in.LateReads += o.LateReads
	in.LateRead = max(in.LateRead, o.LateRead)
	in.LateSends += o.LateSends
	in.LateSend = max(in.LateSend, o.LateSend)
	in.Refused += o.Refused
}

// LateWake is how late a thread of the engine must wake up for this to be an
// incident: no scheduler that has a processor to give takes so long.
const LateWake = 100 * time.Millisecond

// incidents notes those of an engine, on whichever thread they happen. None of
// its methods is called when nothing is wrong.
type incidents struct {
	mu                           sync.Mutex
	lateReads, lateSends, denied timeline
}

// read notes that packets were read late after the planned time.
func (i *incidents) read(now owamp.Timestamp, late time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.lateReads.note(now.AddDuration(-late), now, 1, late)
}

// sent notes that a packet was sent late after its time.
func (i *incidents) sent(now owamp.Timestamp, late time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.lateSends.note(now.AddDuration(-late), now, 1, late)
}

// refused notes that the kernel did not take a packet.
func (i *incidents) refused(now owamp.Timestamp) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.denied.note(now, now, 1, 0)
}

// between returns what happened in a time, both ends inclusive.
func (i *incidents) between(from, to owamp.Timestamp) Incidents {
	i.mu.Lock()
	defer i.mu.Unlock()
	var in Incidents
	in.LateReads, in.LateRead = i.lateReads.between(from, to)
	in.LateSends, in.LateSend = i.lateSends.between(from, to)
	in.Refused, _ = i.denied.between(from, to)
	return in
}

// total returns all that has happened so far.
func (i *incidents) total() Incidents {
	i.mu.Lock()
	defer i.mu.Unlock()
	return Incidents{
		LateReads: i.lateReads.total, LateRead: i.lateReads.greatest,
		LateSends: i.lateSends.total, LateSend: i.lateSends.greatest,
		Refused: i.denied.total,
	}
}

// A dropMeter follows a counter of dropped packets, which the kernel shows
// with packets, as it was when each was queued, and to those who ask.
type dropMeter struct {
	counted  uint32 // of the kernel's, which wraps around
	seen     owamp.Timestamp
	timeline timeline
}

// observe takes in the counter as it was at a time. It allocates only while
// packets are dropped.
func (m *dropMeter) observe(count uint32, at owamp.Timestamp) {
	// Who asks hears of drops before the packets that are in the queue tell.
	if n := int32(count - m.counted); n > 0 {
		m.timeline.note(m.seen, at, uint64(n), 0)
		m.counted = count
	}
	m.seen = at
}

// skip takes in the counter as it was at a time, and none of what it has counted
// since it was last seen.
func (m *dropMeter) skip(count uint32, at owamp.Timestamp) {
	m.counted, m.seen = count, at
}

const (
	// timelineLength bounds a timeline: 10 kB.
	timelineLength = 256
	// timelineStep is how finely a timeline tells times from each other.
	timelineStep = 20 * time.Millisecond
)

// A timeline notes when something happened. It forgets nothing, but the older
// it is the less exactly it is known when.
type timeline struct {
	spans    []span // in the order in which they were noted
	total    uint64
	greatest time.Duration
}

// A span is a time in which something happened n times.
type span struct {
	from, to owamp.Timestamp
	n        uint64
	longest  time.Duration
}

// note notes that something happened n times between from and to, each for a
// time of up to longest.
func (t *timeline) note(from, to owamp.Timestamp, n uint64, longest time.Duration) {
	t.total += n
	t.greatest = max(t.greatest, longest)
	s := span{from, to, n, longest}
	if i := len(t.spans) - 1; i >= 0 {
		// One that begins with the last one and ends about when that did is
		// not worth a span of its own.
		last := &t.spans[i]
		if from.Sub(last.from).Abs() < timelineStep && to.Sub(last.to).Abs() < timelineStep {
			last.add(s)
			return
		}
	}
	if len(t.spans) == timelineLength {
		t.coarsen()
	}
	t.spans = append(t.spans, s)
}

// add makes s cover o, too.
func (s *span) add(o span) {
	if o.from.Before(s.from) {
		s.from = o.from
	}
	if o.to.After(s.to) {
		s.to = o.to
	}
	s.n += o.n
	s.longest = max(s.longest, o.longest)
}

// coarsen joins the spans of the older half in pairs.
func (t *timeline) coarsen() {
	const half = timelineLength / 2
	for i := range half / 2 {
		t.spans[i] = t.spans[2*i]
		t.spans[i].add(t.spans[2*i+1])
	}
	n := copy(t.spans[half/2:], t.spans[half:])
	t.spans = t.spans[:half/2+n]
}

// between returns how often it may have happened between from and to, both
// inclusive: not less often than that it did.
func (t *timeline) between(from, to owamp.Timestamp) (n uint64, longest time.Duration) {
	for _, s := range t.spans {
		if !s.to.Before(from) && !s.from.After(to) {
			n += s.n
			longest = max(longest, s.longest)
		}
	}
	return n, longest
}
