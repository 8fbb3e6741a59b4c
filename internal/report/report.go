package report

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"net/netip"
	"time"

	"owl/internal/aside"
	"owl/owamp"
	"owl/owamp/owp"
	"owl/owamp/stats"
)

// A Reporter writes what its options ask for of one session after the other.
type Reporter struct {
	*Options
	// Note, if not nil, is told in one line what is to be known of a report
	// beside it.
	Note func(string)

	ctx      context.Context
	program  string
	out      *bufio.Writer
	document document
	damaged  bool
}

// New returns a reporter that writes to out what o, which is settled, asks for.
// It stops in the middle when ctx ends. The program's name is part of those of
// files that are not whole yet.
func New(ctx context.Context, program string, o *Options, out io.Writer) *Reporter {
	if o.Text.Zone == nil {
		o.Text.Zone = time.Local
	}
	return &Reporter{Options: o, ctx: ctx, program: program, out: bufio.NewWriterSize(out, 1<<16)}
}

// Flush writes out what is buffered.
func (r *Reporter) Flush() error { return r.out.Flush() }

// Close writes out all that there is left to write.
func (r *Reporter) Close() error {
	if r.JSON {
		r.document.end(r)
	}
	return r.Flush()
}

// Damaged reports whether something of a file had to be left out, or amended.
func (r *Reporter) Damaged() bool { return r.damaged }

func (r *Reporter) note(format string, args ...any) {
	if r.Note != nil {
		r.Note(fmt.Sprintf(format, args...))
	}
}

// A Source says what a file cannot say of the session in it.
type Source struct {
	Names stats.Names
	// For documents, if not empty: the file's name, and the direction of the
	// session as seen from here.
	File, Direction string
}

// A session is one that is reported on.
type session struct {
	Source
	*owp.Reader
	damage *owp.Damage // nil unless it is salvaged
}

// File reports the file at path, whose hosts have the names that names says.
// Errors name the file.
func (r *Reporter) File(path string, names func(sender, receiver netip.Addr) stats.Names) error {
	s := &session{Source: Source{File: path}}
	var err error
	if r.Salvage {
		s.Reader, s.damage, err = owp.Salvage(path)
	} else {
		s.Reader, err = owp.Open(path)
	}
	if err != nil {
		return err
	}
	defer s.Close()
	if spec := &s.Header().Spec; !r.Raw && s.Header().Version >= 2 {
		s.Names = names(spec.Sender.Addr(), spec.Receiver.Addr())
	}
	err = r.report(s)
	r.noteDamage(s)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Session reports the session that f reads.
func (r *Reporter) Session(f *owp.Reader, source Source) error {
	return r.report(&session{Source: source, Reader: f})
}

func (r *Reporter) report(s *session) error {
	switch v := s.Header().Version; {
	case r.Raw:
		return r.writeRaw(s)
	case v < 2:
		return fmt.Errorf("version %d says nothing of its session: want 2 or 3 (-R prints its records)", v)
	case r.JSON:
		return r.writeDocument(s)
	default:
		return r.parts(s, func(begin int64, o stats.Options) (*stats.Summary, error) { return r.writeSummary(s, begin, o) })
	}
}

// noteDamage tells what was wrong with a file that is salvaged.
func (r *Reporter) noteDamage(s *session) {
	d := s.damage
	switch {
	case d == nil:
		return
	case d.None():
		r.note("%s: undamaged: %d records", s.File, s.Len())
		return
	}
	r.damaged = true
	for _, place := range d.Places {
		r.note("%s: %v", s.File, place)
	}
	if d.Unlisted > 0 {
		r.note("%s: and %d places more", s.File, d.Unlisted)
	}
	r.note("%s: damaged: %d records are used, and %d octets left out, which have room for %d", s.File, s.used(), d.Octets, d.Records)
}

// used returns how many records are not left out.
func (s *session) used() int64 { return s.Len() - s.damage.Contradictions }

// writeRaw prints all records.
func (r *Reporter) writeRaw(s *session) error {
	for recs, err := range r.records(s.Reader, 0) {
		if err != nil {
			return err
		}
		for i := range recs {
			if _, err := r.out.Write(stats.AppendRaw(r.out.AvailableBuffer(), &recs[i])); err != nil {
				return err
			}
		}
	}
	return nil
}

// about returns what a summary has to know of the session.
func (s *session) about() *stats.Session {
	h := s.Header()
	return &stats.Session{
		Spec:     h.Spec,
		Finished: h.Finished == owp.Normal,
		NextSeq:  h.NextSeq,
		Skips:    s.Skips(),
	}
}

// maxParts is how many parts a session may have beyond its number of records.
const maxParts = 1 << 16

// parts has each part of the session summarized, or all of it if no parts are
// asked for. No record of a part lies before the one at begin.
func (r *Reporter) parts(s *session, summarize func(begin int64, o stats.Options) (*stats.Summary, error)) error {
	packets := s.Header().Spec.Packets
	part := r.Part
	if part == 0 || part > packets {
		part = packets
	}
	if part < packets {
		records := s.Len()
		if int64(packets) > records+stats.MaxUnrecorded || int64(packets/part) > records+maxParts {
			return fmt.Errorf("%d packets in parts of %d: want at most %d parts, and %d packets, more than the file's %d records", packets, part, maxParts, stats.MaxUnrecorded, records)
		}
	}
	var (
		before *stats.Summary
		begin  int64
	)
	for first := uint32(0); ; first += part {
		last := first + min(part, packets-first)
		sum, err := summarize(begin, stats.Options{First: first, Last: last, After: before})
		if err != nil || last == packets {
			return err
		}
		before = sum
		if sum.Next < 0 {
			// So the reference does, which only tells with a limit.
			begin = 0
		} else {
			begin += sum.Next
		}
	}
}

// summarize summarizes the records from begin on.
func (r *Reporter) summarize(s *session, begin int64, o stats.Options) (*stats.Summary, error) {
	o.BucketWidth = r.bucketWidth()
	if s.damage != nil && o.Refused == nil {
		o.Refused = func(e *stats.RecordError) {
			s.damage.Contradict(s.Reader, begin+e.Index, fmt.Sprintf("record of packet %d: %s", e.Seq, e.What))
		}
	}
	sum, err := stats.Summarize(s.about(), r.records(s.Reader, begin), o)
	if damaged, ok := errors.AsType[*stats.RecordError](err); ok {
		damaged.Index += begin
		err = fmt.Errorf("octet %d: %w", s.Offset(damaged.Index), damaged)
	}
	return sum, err
}

// writeSummary writes one summary, to standard output or to a file of its own.
func (r *Reporter) writeSummary(s *session, begin int64, o stats.Options) (sum *stats.Summary, err error) {
	out := r.out
	var file *aside.File
	if r.Save {
		if file, err = aside.Create(r.Dir, r.program); err != nil {
			return nil, err
		}
		defer file.Close()
		out = bufio.NewWriter(file)
	}
	if r.Verbose {
		// What fails to be written here, Flush tells.
		_, _ = out.Write(s.about().AppendHeader(out.AvailableBuffer(), s.Names))
		o.Each = func(rec *owamp.Record) {
			_, _ = out.Write(stats.AppendVerbose(out.AvailableBuffer(), rec, r.Text))
		}
	}
	if sum, err = r.summarize(s, begin, o); err != nil {
		return nil, err
	}
	r.noteEstimate(s, sum)
	suffix := ".txt"
	if r.Machine {
		suffix = ".sum"
		_, err = out.Write(sum.AppendMachine(nil, s.Names, r.Text.Unix))
	} else {
		_, err = out.Write(sum.AppendReport(nil, s.Names, r.Text))
	}
	if err != nil || file == nil {
		return sum, err
	}
	if err := out.Flush(); err != nil {
		return nil, err
	}
	path, err := file.CommitAs(fmt.Sprintf("%020d_%020d%s", uint64(sum.Start), uint64(sum.End), suffix))
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(r.out, path)
	return sum, r.out.Flush()
}

// noteEstimate tells of a time that is not exact, which the texts cannot say.
func (r *Reporter) noteEstimate(s *session, sum *stats.Summary) {
	if sum.EndEstimated {
		r.note("session %v: %d packets, few of them with a record: the time of the last one is an estimate", s.Header().Spec.SID, s.Header().Spec.Packets)
	}
}

// records yields a file's records from begin on, as many as the options allow.
// It ends with the reporter's context.
func (r *Reporter) records(f *owp.Reader, begin int64) iter.Seq2[[]owamp.Record, error] {
	return func(yield func([]owamp.Record, error) bool) {
		left := int64(math.MaxInt64)
		if r.Limit > 0 && !r.Raw {
			left = r.Limit
		}
		for recs, err := range f.Batches(begin) {
			if r.ctx.Err() != nil {
				yield(nil, errors.New("interrupted"))
				return
			}
			recs = recs[:min(int64(len(recs)), left)]
			if left -= int64(len(recs)); !yield(recs, err) || left == 0 {
				return
			}
		}
	}
}
