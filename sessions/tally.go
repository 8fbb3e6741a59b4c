package sessions

import (
	"maps"
	"slices"
	"sync"
	"time"

	"owl/owamp"
	"owl/probe"
	"owl/sessions/recorder"
)

// A Tally adds up what the sessions between two hosts in one direction say of
// themselves, those that run and those that are settled, for a [Snapshot].
type Tally struct {
	clock Clock

	mu      sync.Mutex
	s       Snapshot        // what is settled, and the marks of the last packet
	begin   owamp.Timestamp // of the stream's time; 0: not yet
	end     owamp.Timestamp // and its end; 0: it goes on
	gaps    map[GapReason]time.Duration
	outage  owamp.Timestamp // since when the stream has been without a session; 0: it is not
	reason  GapReason       // of the outage
	running map[*Track]struct{}
}

// NewTally returns an empty tally.
func NewTally(c Clock) *Tally {
	return &Tally{clock: c, gaps: make(map[GapReason]time.Duration), running: make(map[*Track]struct{})}
}

// SetState says what the stream is doing.
func (t *Tally) SetState(s State) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.s.State = s
}

// Begin says when the stream's time begins: completeness counts from there.
func (t *Tally) Begin(at owamp.Timestamp) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begin = at
}

// End says that the stream's time is over.
func (t *Tally) End(at owamp.Timestamp) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = at
}

// Outage says that from since on nothing is measured until [Tally.Resume]. Of
// an outage that has lasted for a while already it may change since to an
// earlier time, not the reason: what was told of gaps is not taken back.
func (t *Tally) Outage(reason GapReason, since owamp.Timestamp) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outage, t.reason = since, reason
}

// Resume ends an outage: from at on there is measurement again.
func (t *Tally) Resume(at owamp.Timestamp) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.outage != 0 && at.After(t.outage) {
		t.gaps[t.reason] += at.Sub(t.outage)
	}
	t.outage = 0
}

// Shift says that the clock was set forward by d, or back.
func (t *Tally) Shift(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, at := range []*owamp.Timestamp{&t.begin, &t.end, &t.outage} {
		if *at != 0 {
			*at = at.AddDuration(d)
		}
	}
}

// Gap accounts for d in which nothing was measured.
func (t *Tally) Gap(reason GapReason, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gaps[reason] += d
}

// Snapshot returns the state of all that the tally follows.
func (t *Tally) Snapshot() Snapshot {
	now := t.clock.Now()
	precision := t.clock.Error(0)
	// A track has locks of its own, and whoever holds them may be waiting to
	// tell the tally something.
	t.mu.Lock()
	tracks := slices.Collect(maps.Keys(t.running))
	t.mu.Unlock()
	running := make(map[*Track]Snapshot, len(tracks))
	for _, tr := range tracks {
		running[tr] = tr.snapshot()
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.s
	s.ClockError, s.ClockSynced = precision.Duration(), precision.Synchronized()
	s.Gaps = maps.Clone(t.gaps)
	if t.end != 0 {
		now = t.end
	}
	if t.outage != 0 && now.After(t.outage) {
		s.Gaps[t.reason] += now.Sub(t.outage)
	}
	if t.begin != 0 && now.After(t.begin) {
		s.Elapsed = now.Sub(t.begin)
		s.Measured = s.Elapsed
		for _, g := range s.Gaps {
			s.Measured -= g
		}
		s.Measured = max(s.Measured, 0)
	}
	for tr, of := range running {
		if _, ok := t.running[tr]; !ok {
			continue // settled meanwhile, and counted in t.s
		}
		s.Unresolved += of.Unresolved
		s.Overdue += of.Overdue
		s.Late += of.Late
		s.SendSlip = max(s.SendSlip, of.SendSlip)
	}
	return s
}

// A Track follows one session for a [Tally], from its request until it is
// settled.
type Track struct {
	tally    *Tally
	live     func() recorder.Live
	progress func() probe.SendProgress
	expected uint32 // NextExp of RFC 4737 section 3.3
}

// Track begins to follow a session.
func (t *Tally) Track() *Track { return &Track{tally: t} }

// Receive follows a session that this host records.
func (tr *Track) Receive(live func() recorder.Live) {
	tr.live = live
	tr.join()
}

// Send follows a session in which this host sends.
func (tr *Track) Send(progress func() probe.SendProgress) {
	tr.progress = progress
	tr.join()
}

func (tr *Track) join() {
	tr.tally.mu.Lock()
	defer tr.tally.mu.Unlock()
	tr.tally.running[tr] = struct{}{}
}

// Leave ends the following; what is not settled then is forgotten.
func (tr *Track) Leave() {
	tr.tally.mu.Lock()
	defer tr.tally.mu.Unlock()
	delete(tr.tally.running, tr)
}

// snapshot returns what the running session knows.
func (tr *Track) snapshot() Snapshot {
	if tr.progress != nil {
		return Snapshot{SendSlip: tr.progress().Slip}
	}
	l := tr.live()
	return Snapshot{Unresolved: uint64(l.Unresolved), Overdue: uint64(l.Overdue), Late: l.Late}
}

// Observe takes note of records as the recorder takes them.
func (tr *Track) Observe(recs []owamp.Record) {
	t := tr.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range recs {
		r := &recs[i]
		if r.Lost() {
			continue
		}
		if r.Flags&owamp.FlagDuplicate != 0 {
			t.s.Duplicates++
			continue
		}
		if r.Seq < tr.expected {
			t.s.Reordered++
		} else {
			tr.expected = r.Seq + 1
		}
		if t.s.LastPacket.IsZero() {
			t.s.TTLMin = r.TTL
		}
		t.s.TTL, t.s.TTLMin, t.s.TTLMax = r.TTL, min(t.s.TTLMin, r.TTL), max(t.s.TTLMax, r.TTL)
		t.s.LastPacket = r.Recv.Time()
	}
}

// Settle adds a session that was recorded to what is settled, and leaves.
func (tr *Track) Settle(r recorder.Report, st probe.ReceiveStats) {
	t := tr.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.running, tr)
	t.s.Received += uint64(r.Ledger.Received)
	t.s.Lost += uint64(r.Ledger.Lost)
	t.s.NotSent += uint64(r.Ledger.NotSent)
	t.s.NotCovered += uint64(r.Ledger.NotCovered)
	t.s.Late += r.Late
	t.s.SocketDrops += st.Drops + r.Dropped
}

// SettleSending adds a session of n packets in which this host sent. What
// became of the packets that it did send the receiver knows.
func (tr *Track) SettleSending(r owamp.SendReport, n uint32) {
	t := tr.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.running, tr)
	for _, skip := range r.Skips {
		t.s.NotSent += uint64(skip.Last-skip.First) + 1
	}
	t.s.NotCovered += uint64(n - min(n, r.NextSeq))
}
