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
	if s.cfg.Directory == nil {
		return end, nil
	}
	text, _, unsummarized := s.summary(r, r.Batches(0), stats.Options{})
	s.file = nil // its name is no longer ours to remove
	path, err := s.cfg.Directory.Commit(file, s.start, end)
	if err != nil {
		return s.start, err
	}
	s.written(path)
	if unsummarized != nil {
		s.log.Error(fmt.Sprintf("%s: no summary: %v", path, unsummarized))
		return end, nil
	}
	return end, s.writeSummary(text, s.start, end)
}

// writePart writes the summary of a part of a session that still runs.
func (s *session) writePart(r *owp.Reader, p recorder.Part) {
	text, _, err := s.summary(r, r.Batches(p.Offset), stats.Options{First: p.First, Last: p.Last})
	if err == nil {
		err = s.writeSummary(text, p.Start, p.End)
	}
	if err != nil {
		s.partFailed(p, err)
	}
}

// partFailed tells of a part that has no summary.
func (s *session) partFailed(p recorder.Part, err error) {
	s.log.Error(fmt.Sprintf("sub-session %d of %v: %v", p.Index, s.spec.SID, err))
}

// summary computes the text of a summary file. Those of parts say that the
// session has not finished, as the reference has it.
func (s *session) summary(r *owp.Reader, recs iter.Seq2[[]owamp.Record, error], o stats.Options) ([]byte, *stats.Summary, error) {
	h := r.Header()
	o.BucketWidth = s.cfg.BucketWidth
	steps := s.stepsOf(o.Last != 0)
	sum, err := stats.Summarize(&stats.Session{
		Spec:     h.Spec,
		Finished: h.Finished == owp.Normal && o.Last == 0,
		NextSeq:  h.NextSeq,
		Skips:    r.Skips(),

		ClockSteps: steps.Count,
		ClockStep:  steps.Sum,
	}, recs, o)
	if err != nil {
		return nil, nil, err
	}
	names := s.cfg.Names(s.spec.Sender.Addr(), s.spec.Receiver.Addr())
	return sum.AppendMachine(nil, names, s.cfg.UnixTimes), sum, nil
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

// writeSummary writes text; a file that has that name already is no failure of
// the session.
func (s *session) writeSummary(text []byte, start, end owamp.Timestamp) error {
	path, err := s.cfg.Directory.WriteSummary(text, start, end)
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
