package sessions

import (
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"owl/owamp"
	"owl/probe"
	"owl/probe/clock"
	"owl/sessions/recorder"
)

// A Tally adds up what the sessions between two hosts in one direction say of
// themselves, those that run and those that are settled, for a [Snapshot].
type Tally struct {
	clock Clock
	steps clock.Steps // of the clock, at first

	mu      sync.Mutex
	s       Snapshot        // what is settled, and the marks of the last packet
	begin   owamp.Timestamp // of the stream's time; 0: not yet
	end     owamp.Timestamp // and its end; 0: it goes on
	gaps    map[GapReason]time.Duration
	outage  owamp.Timestamp // since when the stream has been without a session; 0: it is not
	reason  GapReason       // of the outage
	running map[*Track]struct{}
	host    Host // nil: nobody watches this host

	losses lossLog
}

// NewTally returns an empty tally.
func NewTally(c Clock) *Tally {
	return &Tally{clock: c, steps: c.Steps(), gaps: make(map[GapReason]time.Duration), running: make(map[*Track]struct{})}
}

// Attribute has losses held against what this host did meanwhile, and told to
// log. Either may be nil. It is called before [Tally.Track].
func (t *Tally) Attribute(h Host, log *slog.Logger) { t.host, t.losses.log = h, log }

// Close tells of losses that were not told yet.
func (t *Tally) Close() { t.losses.flush() }

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
	precision, steps := t.clock.Error(0), t.clock.Steps().Since(t.steps)
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
	s.ClockSteps = steps.Count
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
		if tr.over {
			s.Unresolved += tr.owed
			continue
		}
		s.Unresolved += of.Unresolved
		s.Overdue += of.Overdue
		s.Late += of.Late
		s.SendSlip = max(s.SendSlip, of.SendSlip)
		s.TransmitGap = max(s.TransmitGap, of.TransmitGap)
	}
	return s
}

// A Track follows one session for a [Tally], from its request until it is
// settled.
type Track struct {
	tally    *Tally
	live     func() recorder.Live
	progress func() probe.SendProgress
	fetched  bool   // what the receiver makes of the packets sent will be known
	expected uint32 // NextExp of RFC 4737 section 3.3

	// Whose losses there were; a matter of whoever calls Observe and Settled, and
	// later settles the session.
	trial trial
	// What the sender reports, apart from that: it comes while packets still do.
	reported *owamp.SendReport

	// Guarded by tally.mu.
	over bool   // the sending
	owed uint64 // packets sent of which it is to be fetched what became of them
}

// Track begins to follow a session.
func (t *Tally) Track() *Track {
	return &Track{tally: t, trial: trial{host: t.host, told: t.lost}}
}

// lost takes note of a burst of losses.
func (t *Tally) lost(b *LossBurst) {
	t.mu.Lock()
	t.s.LastLoss = b
	t.mu.Unlock()
	t.losses.add(b)
}

// Receive follows a session that this host records.
func (tr *Track) Receive(live func() recorder.Live) {
	tr.live = live
	tr.join()
}

// Send follows a session in which this host sends. What becomes of its packets
// the receiver knows.
func (tr *Track) Send(progress func() probe.SendProgress) {
	tr.progress = progress
	tr.join()
}

// SendAndFetch follows a session in which this host sends, until [Track.Sent],
// and what the receiver has recorded of it is fetched, until [Track.Fetched].
func (tr *Track) SendAndFetch(progress func() probe.SendProgress) {
	tr.fetched, tr.trial.sends = true, true
	tr.Send(progress)
}

// Witness says what is asked when packets are lost: local is this host's test
// address, incidents what happened at its test port, inside how many packets
// were lost in this program; nil: none. It is called before [Track.Observe].
func (tr *Track) Witness(local netip.Addr, incidents func(from, to owamp.Timestamp) probe.Incidents, inside func() uint64) {
	tr.trial.incidents, tr.trial.inside = incidents, inside
	if h := tr.trial.host; h != nil {
		h.Watch(local)
	}
}

// Settled says that all packets of the session below a number have arrived or
// are lost, and were observed.
func (tr *Track) Settled(below uint32) { tr.trial.settled(below) }

// Reported says what the sender reports of a session that this host records:
// what it did not send was not lost. It is called by who calls [Track.Settle],
// before that; packets may be observed meanwhile.
func (tr *Track) Reported(sent *owamp.SendReport) { tr.reported = sent }

// Evidence says of a session that is settled whose its losses were.
func (tr *Track) Evidence() Evidence { return tr.trial.evidence }

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
		p := tr.progress()
		s := Snapshot{SendSlip: p.Slip, TransmitGap: p.Gap}
		if tr.fetched {
			s.Unresolved = uint64(p.Sent) + uint64(p.Skipped)
		}
		return s
	}
	l := tr.live()
	return Snapshot{Unresolved: uint64(l.Unresolved), Overdue: uint64(l.Overdue), Late: l.Late}
}

// Observe takes note of the records of a session, in the order in which the
// receiver took them.
func (tr *Track) Observe(recs []owamp.Record) {
	t := tr.tally
	for i := range recs {
		if r := &recs[i]; r.Lost() {
			tr.trial.lost(r)
		} else {
			tr.trial.arrived(r)
		}
	}
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
		t.mark(r)
	}
}

// Glimpse takes note of some of the records that [Track.Observe] will get with
// all others: of the last packet, and counts nothing.
func (tr *Track) Glimpse(recs []owamp.Record) {
	t := tr.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range recs {
		if r := &recs[i]; !r.Lost() && r.Flags&owamp.FlagDuplicate == 0 {
			t.mark(r)
		}
	}
}

// mark notes a packet that has arrived. t.mu is held.
func (t *Tally) mark(r *owamp.Record) {
	if t.s.LastPacket.IsZero() {
		t.s.TTLMin = r.TTL
	}
	t.s.TTL, t.s.TTLMin, t.s.TTLMax = r.TTL, min(t.s.TTLMin, r.TTL), max(t.s.TTLMax, r.TTL)
	t.s.LastPacket = r.Recv.Time()
}

// Settle adds a session that was recorded to what is settled, and leaves.
func (tr *Track) Settle(r recorder.Report, st probe.ReceiveStats) {
	t := tr.tally
	evidence := tr.trial.end(uint64(r.Ledger.Lost), tr.reported)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.running, tr)
	t.s.LostBy.Add(&evidence.Lost)
	t.s.Received += uint64(r.Ledger.Received)
	t.s.Lost += uint64(r.Ledger.Lost)
	t.s.NotSent += uint64(r.Ledger.NotSent)
	t.s.NotCovered += uint64(r.Ledger.NotCovered)
	t.s.Late += r.Late
	t.s.SocketDrops += st.Drops + r.Dropped
}

// SettleSending adds a session of n packets in which this host sent, and leaves.
// What became of the packets that it did send the receiver knows.
func (tr *Track) SettleSending(r owamp.SendReport, n uint32) {
	t := tr.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.running, tr)
	t.addSent(r, n)
}

// Sent says that the sending of a session of n packets is over. Those that were
// sent are unresolved until [Track.Fetched].
func (tr *Track) Sent(r owamp.SendReport, n uint32) {
	t := tr.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	tr.trial.sent = &r
	tr.over, tr.owed = true, t.addSent(r, n)
}

// addSent counts what was not sent, and returns what was. t.mu is held.
func (t *Tally) addSent(r owamp.SendReport, n uint32) (sent uint64) {
	next := min(n, r.NextSeq)
	sent = uint64(next)
	for _, skip := range r.Skips {
		sent -= min(sent, uint64(skip.Last-skip.First)+1)
	}
	t.s.NotSent += uint64(next) - sent
	t.s.NotCovered += uint64(n - next)
	return sent
}

// Fetched settles the packets of a session that was sent, of which the receiver
// has received and lost so many, and leaves. Of the others nobody knows.
func (tr *Track) Fetched(received, lost uint32) {
	t := tr.tally
	tr.trial.close()
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.running, tr)
	got := min(uint64(received), tr.owed)
	missed := min(uint64(lost), tr.owed-got)
	evidence := tr.trial.end(missed, nil)
	t.s.LostBy.Add(&evidence.Lost)
	t.s.Received += got
	t.s.Lost += missed
	t.s.NotCovered += tr.owed - got - missed
	tr.owed = 0
}
