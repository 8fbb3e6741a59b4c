package sessions

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"

	"owl/owamp"
	"owl/owamp/owp"
	"owl/owamp/schedule"
	"owl/owamp/stats"
	"owl/probe/clock"
	"owl/sessions/recorder"
	"owl/sessions/result"
	"owl/sessions/spill"
)

// begin returns where the records of the session go.
func (s *session) begin() (File, error) {
	if s.cfg.Directory == nil {
		return spill.New(s.cfg.Scratch), nil
	}
	f, err := s.cfg.Directory.Begin(s.spec.SID)
	if err != nil {
		return nil, err // and no File that holds no *os.File
	}
	return f, nil
}

// write gives a session that is over its files, if they are wanted, and returns the time up to
// which they cover its schedule: all of it if it is settled and the peer has
// sent all, else up to the last packet that there is a record of. A session
// without any leaves no file.
func (s *session) write(settled bool) (owamp.Timestamp, error) {
	file := s.file
	r, err := readFile(file)
	if err != nil {
		return s.start, err
	}
	h := r.Header()
	end := s.end
	if !settled || h.Finished != owp.Normal || h.NextSeq < s.spec.Packets {
		last, n, err := lastRecorded(r, &s.spec)
		if err != nil || n == 0 {
			return s.start, err
		}
		end = last
	}
	sum, made, unsummarized := s.conclude(r, end)
	if s.cfg.Directory == nil {
		if unsummarized != nil {
			s.log.Error(fmt.Sprintf("session %v: no result: %v", s.spec.SID, unsummarized))
		}
		s.made = made
		return end, nil
	}
	s.file = nil // its name is no longer ours to remove
	path, err := s.cfg.Directory.Commit(file, s.start, end)
	if err != nil {
		return s.start, err
	}
	s.made = made
	s.written(path)
	if unsummarized != nil {
		s.log.Error(fmt.Sprintf("%s: no summary: %v", path, unsummarized))
		return end, nil
	}
	return end, s.writeSummary(sum, s.start, end)
}

// conclude summarizes a session that is over, as far as somebody wants to know,
// and makes the results that there are not yet.
func (s *session) conclude(r *owp.Reader, until owamp.Timestamp) (*stats.Summary, []*result.Result, error) {
	if s.results == nil && s.cfg.Directory == nil {
		return nil, nil, nil
	}
	made := s.restResults(r, until)
	fold := s.newFold(EachSession)
	if fold == nil && s.cfg.Directory == nil {
		return nil, made, nil
	}
	sum, err := s.summarize(r, r.Batches(0), fold, stats.Options{})
	if err == nil && fold != nil {
		made = append(made, s.result(fold, sum, result.Extent{Part: -1, Start: s.start, End: s.end, Until: until}))
	}
	return sum, made, err
}

// writePart writes the summary of a part of a session that still runs.
func (s *session) writePart(r *owp.Reader, p recorder.Part) {
	if err := s.concludePart(r, p, p.Offset, nil); err != nil {
		s.partFailed(p, err)
	}
}

// partFailed tells of a part that has no summary.
func (s *session) partFailed(p recorder.Part, err error) {
	s.log.Error(fmt.Sprintf("sub-session %d of %v: %v", p.Index, s.spec.SID, err))
}

// concludePart writes the summary of a part whose records are in r, none of them
// before the one at from, and tells of its result, unless check objects.
func (s *session) concludePart(r *owp.Reader, p recorder.Part, from int64, check func(*stats.Summary) error) error {
	fold := s.newFold(EachPart)
	sum, err := s.summarize(r, r.Batches(from), fold, stats.Options{First: p.First, Last: p.Last})
	if err == nil && check != nil {
		err = check(sum)
	}
	if err == nil {
		err = s.writeSummary(sum, p.Start, p.End)
	}
	if err == nil && fold != nil {
		s.reported = p.Last
		s.results.measured(s.result(fold, sum, result.Extent{Part: p.Index, Start: p.Start, End: p.End, Until: p.End}))
	}
	return err
}

// summarize folds records of the session into a summary, and into fold unless
// that is nil. That of a part says that the session has not finished, as the
// reference has it.
func (s *session) summarize(r *owp.Reader, recs iter.Seq2[[]owamp.Record, error], fold *result.Fold, o stats.Options) (*stats.Summary, error) {
	h := r.Header()
	o.BucketWidth = s.cfg.BucketWidth
	if fold != nil {
		o.Each = fold.Observe
	}
	steps := s.stepsOf(o.Last != 0)
	return stats.Summarize(&stats.Session{
		Spec:     h.Spec,
		Finished: h.Finished == owp.Normal && o.Last == 0,
		NextSeq:  h.NextSeq,
		Skips:    r.Skips(),

		ClockSteps: steps.Count,
		ClockStep:  steps.Sum,
	}, recs, o)
}

// stepsOf returns how this host's clock was set while the session ran, or since
// the part before this one was written.
func (s *session) stepsOf(part bool) clock.Steps {
	now := s.cfg.Clock.Steps()
	if s.sent != nil && s.sent.isOver() {
		now = s.sent.steps
	}
	if !part {
		return now.Since(s.steps)
	}
	before := s.parted
	s.parted = now
	return now.Since(before)
}

// writeSummary writes sum to its file, if files are wanted; one that has that
// name already is no failure of the session.
func (s *session) writeSummary(sum *stats.Summary, start, end owamp.Timestamp) error {
	if s.cfg.Directory == nil {
		return nil
	}
	names := s.cfg.Names(s.spec.Sender.Addr(), s.spec.Receiver.Addr())
	path, err := s.cfg.Directory.WriteSummary(sum.AppendMachine(nil, names, s.cfg.UnixTimes), start, end)
	if errors.Is(err, fs.ErrExist) {
		s.log.Warn(err.Error())
		return nil
	}
	if err == nil {
		s.written(path)
	}
	return err
}

func (s *session) written(path string) {
	if s.cfg.Written == nil {
		return
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	s.cfg.Written(path)
}

func (s *session) discard() {
	discard := s.file.Close
	if d := s.cfg.Directory; d != nil {
		discard = func() error { return d.Discard(s.file) }
	}
	if err := discard(); err != nil {
		s.log.Error(err.Error())
	}
	s.file = nil
}

// readFile returns a reader of what file holds now.
func readFile(file owp.File) (*owp.Reader, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return owp.NewReader(file, info.Size())
}

// lastRecorded returns the scheduled time of the packet with the greatest
// sequence number that r has a record of, and how many records there are.
func lastRecorded(r *owp.Reader, spec *owamp.SessionSpec) (owamp.Timestamp, int64, error) {
	var n int64
	var last uint32
	for rec, err := range r.Records() {
		if err != nil {
			return 0, 0, err
		}
		last = max(last, rec.Seq)
		n++
	}
	if n == 0 || last >= spec.Packets {
		return 0, 0, nil
	}
	until := *spec
	until.Packets = last + 1
	end, err := schedule.End(&until)
	return end, n, err
}
