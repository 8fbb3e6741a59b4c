package report

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
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
	ctx     context.Context
	program string
	out     *bufio.Writer
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

// File reports the file at path, whose hosts have the names that names says.
// Errors name the file.
func (r *Reporter) File(path string, names func(sender, receiver netip.Addr) stats.Names) error {
	f, err := owp.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var n stats.Names
	if spec := &f.Header().Spec; !r.Raw && f.Header().Version >= 2 {
		n = names(spec.Sender.Addr(), spec.Receiver.Addr())
	}
	if err := r.Session(f, n); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Session reports the session that f reads.
func (r *Reporter) Session(f *owp.Reader, names stats.Names) error {
	if r.Raw {
		return r.writeRaw(f)
	}
	return r.writeSummaries(f, names)
}

// writeRaw prints all records.
func (r *Reporter) writeRaw(f *owp.Reader) error {
	for rec, err := range r.records(f, 0) {
		if err != nil {
			return err
		}
		if _, err := r.out.Write(stats.AppendRaw(r.out.AvailableBuffer(), &rec)); err != nil {
			return err
		}
	}
	return nil
}

// writeSummaries prints the summary of the session, or of each of its parts.
func (r *Reporter) writeSummaries(f *owp.Reader, names stats.Names) error {
	h := f.Header()
	if h.Version < 2 {
		return fmt.Errorf("version %d says nothing of its session: want 2 or 3 (-R prints its records)", h.Version)
	}
	s := &stats.Session{
		Spec:     h.Spec,
		Finished: h.Finished == owp.Normal,
		NextSeq:  h.NextSeq,
		Skips:    f.Skips(),
	}
	part := r.Part
	if part == 0 || part > s.Spec.Packets {
		part = s.Spec.Packets
	}
	var (
		before *stats.Summary
		begin  int64 // no record of the part lies before this one
	)
	for first := uint32(0); ; first += part {
		last := first + min(part, s.Spec.Packets-first)
		sum, err := r.writeSummary(f, s, begin, names, stats.Options{
			BucketWidth: r.bucketWidth(),
			First:       first,
			Last:        last,
			After:       before,
		})
		if err != nil || last == s.Spec.Packets {
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

// writeSummary writes one summary, to standard output or to a file of its own.
func (r *Reporter) writeSummary(f *owp.Reader, s *stats.Session, begin int64, names stats.Names, o stats.Options) (sum *stats.Summary, err error) {
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
		_, _ = out.Write(s.AppendHeader(out.AvailableBuffer(), names))
		o.Each = func(rec *owamp.Record) {
			_, _ = out.Write(stats.AppendVerbose(out.AvailableBuffer(), rec, r.Text))
		}
	}
	sum, err = stats.Summarize(s, r.records(f, begin), o)
	if err != nil {
		if damaged, ok := errors.AsType[*stats.RecordError](err); ok {
			damaged.Index += begin
			err = fmt.Errorf("octet %d: %w", f.Offset(damaged.Index), damaged)
		}
		return nil, err
	}
	suffix := ".txt"
	if r.Machine {
		suffix = ".sum"
		_, err = out.Write(sum.AppendMachine(nil, names, r.Text.Unix))
	} else {
		_, err = out.Write(sum.AppendReport(nil, names, r.Text))
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

// records yields a file's records from begin on, as many as the options allow.
// It ends with the reporter's context, which it looks at now and then.
func (r *Reporter) records(f *owp.Reader, begin int64) iter.Seq2[owamp.Record, error] {
	return func(yield func(owamp.Record, error) bool) {
		var n int64
		for rec, err := range f.RecordsFrom(begin) {
			if n&0xfff == 0 && r.ctx.Err() != nil {
				yield(owamp.Record{}, errors.New("interrupted"))
				return
			}
			if n++; !yield(rec, err) || n == r.Limit && !r.Raw {
				return
			}
		}
	}
}
