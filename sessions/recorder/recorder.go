// Package recorder turns the test packets of one session that this host
// receives into its .owp file: it owns the receiver's window, declares losses,
// and settles the session when it ends. Both a client's stream and a server's
// sessions record with it.
package recorder

import (
	"fmt"
	"sync"
	"time"

	"owl/owamp"
	"owl/owamp/owp"
	"owl/owamp/schedule"
	"owl/owamp/window"
)

const (
	// maxPending bounds what may wait between the receiving thread and the
	// recorder: 4 MB, a second at more packets than the engine can receive.
	maxPending = 1 << 17
	// crowd is how many records are taken over at once, although others may
	// gather with them.
	crowd = 1 << 10
	// flushEvery bounds how long a record stays in memory only.
	flushEvery = time.Second
	// Records gather for a part of the time-out, so that thousands of recorders
	// have something to do once a second, not for each packet.
	gatherPart  = 8
	gatherLeast = 50 * time.Millisecond
	gatherMost  = time.Second
	// waitAtMost bounds a wait, so that a step of the clock is noticed.
	waitAtMost = 5 * time.Second
)

// A Source is where a recorder's packets come from; *probe.Receiving is one.
type Source interface {
	// Drain delivers everything that has arrived and returns the time up to
	// which that is so.
	Drain() owamp.Timestamp
	// Drained does so, or returns such a time of a moment ago.
	Drained() owamp.Timestamp
	// Close ends the delivery: no batch comes after it returns.
	Close()
}

// Config says what to record and who wants to know.
type Config struct {
	Spec    *owamp.SessionSpec
	File    owp.File                       // empty, open for reading and writing; the recorder does not close it
	Now     func() owamp.Timestamp         // the local clock
	Err     func() owamp.ErrorEstimate     // how good it is now, for the records of lost packets
	Failed  func(error)                    // told once, when it happens, why the file has no more records from then on; may be nil
	Seen    func(recs []owamp.Record)      // each record as the window took it: received, duplicate and lost; may be nil
	Settled func(below uint32)             // told from time to time, after Seen, that all packets below a number have come or are lost; may be nil
	Each    uint32                         // packets per part; 0: no parts
	Part    func(r *owp.Reader, part Part) // called when all packets of a part are settled; may be nil without Each
}

// A Recorder records one session. Make it with [New], give its
// [Recorder.Batch] to the engine, then [Recorder.Run].
type Recorder struct {
	cfg    Config
	gather time.Duration // for which records may wait
	timer  *time.Timer   // of the next work; a goroutine would take more memory
	done   chan struct{} // every packet is settled

	pendMu  sync.Mutex
	pending []owamp.Record // filled by the receiving thread
	dropped uint64         // what did not fit

	mu       sync.Mutex // guards all below
	source   Source
	spare    []owamp.Record // the other half of the double buffer
	win      *window.Window
	next     owamp.Timestamp // when the next packet may be declared lost
	file     *owp.Writer
	flushed  time.Time       // when the file was, last
	lastSent owamp.Timestamp // the greatest send time in the file
	err      error           // the first failure of the file
	late     uint64
	isDone   bool
	settled  bool

	parts    *Parts
	cutting  bool   // part is a part still to be handed over
	part     Part   // the part that is being recorded
	greatest uint32 // the greatest sequence number in the file
	ahead    int64  // no record of a later part lies before this index, -1: there is none
}

// New returns a recorder for cfg. It writes the file's header.
func New(cfg Config) (*Recorder, error) {
	gen, err := schedule.New(cfg.Spec.SID, cfg.Spec.Slots)
	if err != nil {
		return nil, err
	}
	win, err := window.New(gen, cfg.Spec.Start, cfg.Spec.Packets, cfg.Spec.Timeout)
	if err != nil {
		return nil, err
	}
	file, err := owp.Create(cfg.File, cfg.Spec)
	if err != nil {
		return nil, err
	}
	r := &Recorder{
		cfg:      cfg,
		gather:   min(max(cfg.Spec.Timeout.Duration()/gatherPart, gatherLeast), gatherMost),
		done:     make(chan struct{}),
		win:      win,
		next:     cfg.Spec.Start.Add(cfg.Spec.Timeout),
		file:     file,
		parts:    newParts(gen, cfg.Spec, cfg.Each),
		ahead:    -1,
		lastSent: cfg.Spec.Start,
	}
	r.nextPart()
	r.timer = time.AfterFunc(waitAtMost, r.work)
	r.timer.Stop()
	return r, nil
}

// Batch takes received records over from the receiving thread. It neither
// blocks nor, once its buffers have grown to the rate, allocates.
func (r *Recorder) Batch(recs []owamp.Record) {
	r.pendMu.Lock()
	before := len(r.pending)
	if before+len(recs) <= maxPending {
		r.pending = append(r.pending, recs...)
	} else {
		r.dropped += uint64(len(recs))
	}
	if before < crowd && len(r.pending) >= crowd {
		r.timer.Reset(0)
	}
	r.pendMu.Unlock()
}

// Run records what comes from source until the recorder is finished.
func (r *Recorder) Run(source Source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.source, r.flushed = source, time.Now()
	r.timer.Reset(0)
}

// work does what there is to do, and sets the timer to when there is more.
func (r *Recorder) work() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.source == nil || r.settled {
		return
	}
	wait := r.expire()
	if now := time.Now(); now.Sub(r.flushed) >= flushEvery {
		r.flushed = now
		r.keep(r.file.Flush())
	}
	r.pendMu.Lock()
	defer r.pendMu.Unlock()
	if len(r.pending) >= crowd { // whose Batch has set the timer before
		wait = 0
	}
	r.timer.Reset(wait)
}

// consume folds what is pending into the window and the file. r.mu is held.
func (r *Recorder) consume() {
	r.pendMu.Lock()
	recs := r.pending
	r.pending, r.spare = r.spare[:0], nil
	r.pendMu.Unlock()
	first, n := 0, 0 // recs[first:n] are to be written
	for i := range recs {
		// Whoever reads the file takes an arrival for the sign that what was due
		// two time-outs before is settled.
		if at := recs[i].Recv - owamp.Timestamp(r.cfg.Spec.Timeout); r.next.Before(at) && !r.win.Done() {
			r.write(recs[first:n])
			first = n
			r.next = r.win.Expire(at, r.lost)
		}
		switch r.win.Arrive(&recs[i]) {
		case window.Recorded, window.Duplicate:
			recs[n] = recs[i]
			n++
		case window.Stale:
			r.late++
		}
	}
	r.write(recs[first:n])
	r.spare = recs
}

// write puts records that the window took into the file.
func (r *Recorder) write(recs []owamp.Record) {
	if len(recs) == 0 {
		return
	}
	for i := range recs {
		if recs[i].Sent.After(r.lastSent) {
			r.lastSent = recs[i].Sent
		}
	}
	if r.cutting {
		for i := range recs {
			r.greatest = max(r.greatest, recs[i].Seq)
			if r.ahead < 0 && recs[i].Seq >= r.part.Last {
				r.ahead = r.file.Len() + int64(i)
			}
		}
	}
	r.keep(r.file.Write(recs...))
	if r.cfg.Seen != nil {
		r.cfg.Seen(recs)
	}
}

// keep remembers the first failure of the file, and tells of it.
func (r *Recorder) keep(err error) {
	if err == nil || r.err != nil {
		return
	}
	r.err = fmt.Errorf("recording session %v: %w", r.cfg.Spec.SID, err)
	if r.cfg.Failed != nil {
		r.cfg.Failed(r.err)
	}
}

// expire takes over what has come, declares the losses that can be declared by
// now and says after how long there may be more to do. r.mu is held.
func (r *Recorder) expire() time.Duration {
	drained := r.source.Drained()
	r.consume()
	r.next = r.win.Expire(drained, r.lost)
	if r.cfg.Settled != nil {
		r.cfg.Settled(r.win.Open())
	}
	// The last part waits for the end of the session, as the reference has it.
	for r.cutting && r.part.Last < r.cfg.Spec.Packets && r.part.End.Add(r.cfg.Spec.Timeout).Before(drained) {
		r.endPart()
	}
	now := r.cfg.Now()
	if begin := r.cfg.Spec.Start.Sub(now); begin > r.gather {
		return min(begin, waitAtMost)
	}
	wait := r.gather
	switch {
	case r.isDone:
		return waitAtMost
	case r.win.Done():
		// A packet that was sent less than a time-out before Stop-Sessions does
		// not count, and its sender may have been late with it.
		end := r.lastSent.Add(r.cfg.Spec.Timeout)
		if end.Before(drained) {
			r.isDone = true
			close(r.done)
			return waitAtMost
		}
		wait = min(wait, end.Sub(now))
	case r.cutting:
		wait = min(wait, r.part.End.Add(r.cfg.Spec.Timeout).Sub(now))
	}
	if end, known := r.win.End(); known && !r.win.Done() {
		wait = min(wait, end.Sub(now))
	}
	return max(wait, gatherLeast)
}

// lost records the loss of a packet.
func (r *Recorder) lost(rec *owamp.Record) {
	rec.RecvErr = r.cfg.Err()
	r.write([]owamp.Record{*rec})
}

// endPart hands the current part over and begins the next.
func (r *Recorder) endPart() {
	r.keep(r.file.Flush())
	rd, err := r.reader()
	if err != nil {
		r.keep(err)
	} else {
		r.cfg.Part(rd, r.part)
	}
	r.nextPart()
}

// nextPart advances to the next part of the schedule, if parts are wanted.
func (r *Recorder) nextPart() {
	var p Part
	if p, r.cutting = r.parts.Next(); !r.cutting {
		return
	}
	p.Offset = r.ahead
	if p.Offset < 0 {
		p.Offset = r.file.Len()
	}
	if r.ahead < 0 || r.greatest < p.Last {
		r.ahead = -1
	}
	r.part = p
}

// reader reads what the file holds so far.
func (r *Recorder) reader() (*owp.Reader, error) {
	info, err := r.cfg.File.Stat()
	if err != nil {
		return nil, err
	}
	return owp.NewReader(r.cfg.File, info.Size())
}

// Done is closed when every packet is settled, by the schedule and by when the
// packets that came were sent: the last time-out is over.
func (r *Recorder) Done() <-chan struct{} { return r.done }

// Live is what a recorder knows while its session runs.
type Live struct {
	window.Progress
	Late    uint64 // came after their time-out, or were otherwise of another time
	Dropped uint64 // did not fit between receiving and recording
}

// Live returns the state of the session now.
func (r *Recorder) Live() Live {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.settled {
		r.consume()
	}
	return Live{Progress: r.win.Progress(r.cfg.Now()), Late: r.late, Dropped: r.Dropped()}
}

// Dropped returns how many records did not fit between receiving and recording
// so far.
func (r *Recorder) Dropped() uint64 {
	r.pendMu.Lock()
	defer r.pendMu.Unlock()
	return r.dropped
}

// A Report is how a session ended.
type Report struct {
	Ledger  window.Ledger
	Late    uint64 // see [Live]
	Dropped uint64
}

// CutShort says that the session ends before its time: the part that is being
// recorded will not be whole, so neither it nor a later one is handed over.
func (r *Recorder) CutShort() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cutting = false
}

// Finish settles the session with what the sender said in Stop-Sessions, which
// arrived at stopped, and completes the file (RFC 4656 section 3.8). A nil sent
// means that the peer sent no report for the session: all of the schedule
// counts as sent.
func (r *Recorder) Finish(sent *owamp.SendReport, stopped owamp.Timestamp) (Report, error) {
	if sent == nil {
		sent = &owamp.SendReport{NextSeq: r.cfg.Spec.Packets}
	}
	return r.end(func() (window.Ledger, error) {
		l := r.win.Settle(sent.NextSeq, sent.Skips, stopped)
		r.win.Expire(stopped+1, r.lost)
		for r.cutting && sent.NextSeq == r.cfg.Spec.Packets {
			r.endPart()
		}
		return l, r.file.Finish(sent.NextSeq, sent.Skips, stopped)
	})
}

// FinishIncomplete settles a session whose end the peer never told: control was
// lost at stopped. What came until then is kept.
func (r *Recorder) FinishIncomplete(stopped owamp.Timestamp) (Report, error) {
	return r.end(func() (window.Ledger, error) {
		r.win.Expire(stopped, r.lost)
		return r.win.SettleIncomplete(), r.file.FinishIncomplete()
	})
}

// end stops the delivery and settles the session, once.
func (r *Recorder) end(settle func() (window.Ledger, error)) (Report, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settled {
		return Report{}, fmt.Errorf("recording session %v: finished twice", r.cfg.Spec.SID)
	}
	r.settled = true
	r.timer.Stop()
	if r.source != nil {
		r.source.Drain()
		r.source.Close()
		r.consume()
	}
	ledger, err := settle()
	r.keep(err)
	return Report{Ledger: ledger, Late: r.late, Dropped: r.Dropped()}, r.err
}
