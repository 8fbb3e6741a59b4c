package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"time"

	"owl/internal/hostname"
	"owl/owamp"
	"owl/owamp/owp"
	"owl/owamp/stats"
)

// A reporter writes what the options ask for of one file after the other.
type reporter struct {
	*options
	ctx   context.Context
	names *hostname.Cache
	out   *bufio.Writer
}

func newReporter(ctx context.Context, o *options, numeric bool, out *bufio.Writer) *reporter {
	o.report.Zone = time.Local
	return &reporter{options: o, ctx: ctx, names: hostname.NewCache(net.DefaultResolver, numeric), out: out}
}

// report reports one file. Its errors name it.
func (r *reporter) report(path string) error {
	f, err := owp.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if r.raw {
		err = r.writeRaw(f)
	} else {
		err = r.writeSummaries(f)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// writeRaw prints all records.
func (r *reporter) writeRaw(f *owp.Reader) error {
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
func (r *reporter) writeSummaries(f *owp.Reader) error {
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
	part := r.part
	if part == 0 || part > s.Spec.Packets {
		part = s.Spec.Packets
	}
	var (
		names  = r.names.Names(s.Spec.Sender.Addr(), s.Spec.Receiver.Addr())
		before *stats.Summary
		begin  int64 // no record of the part lies before this one
	)
	for first := uint32(0); ; first += part {
		last := first + min(part, s.Spec.Packets-first)
		sum, err := r.writeSummary(f, s, begin, names, stats.Options{
			BucketWidth: r.bucket,
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
func (r *reporter) writeSummary(f *owp.Reader, s *stats.Session, begin int64, names stats.Names, o stats.Options) (sum *stats.Summary, err error) {
	out := r.out
	var file *summaryFile
	if r.save {
		if file, err = createSummaryFile(r.dir); err != nil {
			return nil, err
		}
		defer file.discard()
		out = file.out
	}
	if r.verbose {
		// What fails to be written here, Flush tells.
		_, _ = out.Write(s.AppendHeader(out.AvailableBuffer(), names))
		o.Each = func(rec *owamp.Record) {
			_, _ = out.Write(stats.AppendVerbose(out.AvailableBuffer(), rec, r.options.report))
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
	if r.machine {
		suffix = ".sum"
		_, err = out.Write(sum.AppendMachine(nil, names, r.options.report.Unix))
	} else {
		_, err = out.Write(sum.AppendReport(nil, names, r.options.report))
	}
	if err != nil || file == nil {
		return sum, err
	}
	name, err := file.commit(fmt.Sprintf("%020d_%020d%s", uint64(sum.Start), uint64(sum.End), suffix))
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(r.out, name)
	return sum, r.out.Flush()
}

// records yields a file's records from begin on, as many as the options allow.
// It ends with the program's context, which it looks at now and then.
func (r *reporter) records(f *owp.Reader, begin int64) iter.Seq2[owamp.Record, error] {
	return func(yield func(owamp.Record, error) bool) {
		var n int64
		for rec, err := range f.RecordsFrom(begin) {
			if n&0xfff == 0 && r.ctx.Err() != nil {
				yield(owamp.Record{}, errors.New("interrupted"))
				return
			}
			if n++; !yield(rec, err) || n == r.limit && !r.raw {
				return
			}
		}
	}
}
