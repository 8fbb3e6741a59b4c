package sessions

import (
	"cmp"
	"slices"
	"time"

	"owl/owamp"
	"owl/owamp/owp"
	"owl/owamp/schedule"
	"owl/owamp/stats"
	"owl/owamp/window"
	"owl/sessions/recorder"
	"owl/sessions/spill"
)

// partDelay is how long after the last time-out of a part it is fetched, as the
// reference has it: the peer writes when it has something to write.
func (s *session) partDelay() time.Duration {
	return max(s.spec.MeanInterval().Duration().Truncate(time.Second), time.Second) + 2*time.Second
}

// settledAt returns when a peer that was told nothing has settled, and has on
// disk, all packets that were sent.
func (s *session) settledAt() time.Time {
	return s.sent.at.Add(s.cfg.Timeout.Duration() + settling)
}

// beginParts turns to the first part of the session.
func (s *session) beginParts() (err error) {
	s.sent.parts, err = recorder.NewParts(&s.spec, s.cfg.Part)
	if err == nil {
		s.sent.part, s.sent.more = s.sent.parts.Next()
	}
	return err
}

// writeFetchedPart writes the summary of the next part, whose records are in
// file, if it is complete.
func (s *session) writeFetchedPart(file File) error {
	r, err := readFile(file)
	if err != nil {
		return err
	}
	p := s.sent.part
	err = s.concludePart(r, p, 0, func(sum *stats.Summary) error {
		if sum.Sent < p.Last-p.First {
			return errUnsettled
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.sent.part, s.sent.more = s.sent.parts.Next()
	return s.replay(r, func(recs []owamp.Record) {
		received, lost, _ := s.count(recs)
		s.sent.received, s.sent.lost = s.sent.received+received, s.sent.lost+lost
		s.track.Glimpse(recs)
		s.show(recs)
	})
}

// writeFetched writes all that there is to write of the session, whose records
// are in its file. While the stream goes on it tells of what is missing at their
// end.
func (s *session) writeFetched(going bool) error {
	r, err := readFile(s.file)
	if err != nil {
		return err
	}
	if err := s.observe(r); err != nil {
		return err
	}
	s.writeParts(r)
	until, err := s.write(s.sent.whole)
	if err != nil && until == s.start {
		return err
	}
	if err != nil {
		s.log.Error(err.Error())
	}
	if until.Before(s.sent.until) {
		if going {
			s.tellGap(s.sent.reason, until, s.sent.until, "", false)
		}
		s.tally.Gap(s.sent.reason, s.sent.until.Sub(until))
	}
	s.track.Fetched(s.sent.received, s.sent.lost)
	s.tellResults()
	return nil
}

// writeParts writes the summaries of the parts of which there is none yet, as
// far as r has them whole.
func (s *session) writeParts(r *owp.Reader) {
	h := r.Header()
	complete := s.sent.whole && h.Finished == owp.Normal && h.NextSeq == s.spec.Packets
	var from int64 // no record of the part is before
	for ; s.sent.more; s.sent.part, s.sent.more = s.sent.parts.Next() {
		p := s.sent.part
		if !complete && p.Last-1 > s.sent.last {
			return
		}
		err := s.concludePart(r, p, from, func(sum *stats.Summary) error {
			from += max(sum.Next, 0)
			return nil
		})
		if err != nil {
			s.partFailed(p, err)
		}
	}
}

// observe counts the records in r, once.
func (s *session) observe(r *owp.Reader) error {
	if s.sent.observed {
		return nil
	}
	var received, lost, last uint32
	// All is read before anything is counted that is not taken back.
	err := s.replay(r, func(recs []owamp.Record) {
		n, m, seq := s.count(recs)
		received, lost, last = received+n, lost+m, max(last, seq)
	})
	if err != nil {
		return err
	}
	s.sent.received, s.sent.lost, s.sent.last, s.sent.observed = received, lost, last, true
	shown := s.sent.part.First // with their parts
	return s.replay(r, func(recs []owamp.Record) {
		s.track.Observe(recs)
		s.show(slices.DeleteFunc(recs, func(rec owamp.Record) bool { return rec.Seq < shown }))
	})
}

// count returns how many packets that were sent were received, and lost, for the
// first time by recs, and the greatest sequence number in them.
func (s *session) count(recs []owamp.Record) (received, lost, last uint32) {
	for i := range recs {
		switch r := &recs[i]; {
		case !r.Lost() && r.Flags&owamp.FlagDuplicate == 0:
			received++
		case r.Lost() && (!s.sent.isOver() || r.Seq < s.sent.report.NextSeq && !skipped(s.sent.report.Skips, r.Seq)):
			lost++
		}
		last = max(last, recs[i].Seq)
	}
	return received, lost, last
}

// show passes on what was fetched.
func (s *session) show(recs []owamp.Record) {
	if s.cfg.Seen != nil && len(recs) > 0 {
		s.cfg.Seen(recs)
	}
}

// skipped reports whether seq is in skips, which are ascending.
func skipped(skips []owamp.SkipRange, seq uint32) bool {
	i, _ := slices.BinarySearchFunc(skips, seq, func(r owamp.SkipRange, seq uint32) int { return cmp.Compare(r.Last, seq) })
	return i < len(skips) && skips[i].First <= seq
}

// replay gives the records in r to each, batch by batch, with duplicates marked.
// What no receiver would have recorded is left out. The batches are each's own
// until it returns.
func (s *session) replay(r *owp.Reader, each func([]owamp.Record)) error {
	gen, err := schedule.New(s.spec.SID, s.spec.Slots)
	if err != nil {
		return err
	}
	win, err := window.New(gen, s.spec.Start, s.spec.Packets, s.spec.Timeout)
	if err != nil {
		return err
	}
	batch := make([]owamp.Record, 0, 512)
	var rec owamp.Record // one for all: the loop's own would each escape to Arrive
	for next, err := range r.Records() {
		if err != nil {
			return err
		}
		if rec = next; !rec.Lost() {
			win.Expire(rec.Recv-owamp.Timestamp(s.spec.Timeout), func(*owamp.Record) {})
			if v := win.Arrive(&rec); v != window.Recorded && v != window.Duplicate {
				continue
			}
		}
		if batch = append(batch, rec); len(batch) == cap(batch) {
			each(batch)
			batch = batch[:0]
		}
	}
	if len(batch) > 0 {
		each(batch)
	}
	return nil
}

// beginPart returns where what is known of a session that runs goes; endPart
// forgets it.
func (s *session) beginPart() (File, error) {
	if s.cfg.Directory == nil {
		return spill.New(s.cfg.Scratch), nil
	}
	f, err := s.cfg.Directory.BeginPart(s.spec.SID)
	if err != nil {
		return nil, err // and no File that holds no *os.File
	}
	return f, nil
}

func (s *session) endPart(file File) {
	if d := s.cfg.Directory; d != nil {
		_ = d.Discard(file) // at worst it stays until the next start
		return
	}
	_ = file.Close()
}
