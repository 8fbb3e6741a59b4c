package owp

import (
	"iter"

	"owl/owamp"
)

// chunk is how many records are read and written at a time: 64 KB.
const chunk = 2621

// readAhead is how many chunks a file has at least to be read ahead of who uses
// its records, on a goroutine of its own.
const readAhead = 8

// A batch is what one reading yields.
type batch struct {
	recs []owamp.Record
	err  error // what comes after recs
}

// Batches yields the records from the i-th on as [Reader.RecordsFrom] does, many
// at a time and never none. They are valid until the next ones are yielded, and
// the caller may write to them. Long files are read ahead.
func (r *Reader) Batches(i int64) iter.Seq2[[]owamp.Record, error] {
	first := max(i, 0)
	if r.records-first < readAhead*chunk {
		return func(yield func([]owamp.Record, error) bool) {
			if first >= r.records {
				return
			}
			b := batch{recs: make([]owamp.Record, 0, min(chunk, r.records-first))}
			raw := make([]byte, int64(cap(b.recs))*r.recordSize)
			for next := first; r.batch(&b, raw, &next); {
				if !b.yield(yield) {
					return
				}
			}
		}
	}
	return func(yield func([]owamp.Record, error) bool) {
		const batches = 3 // in use, read, and being read
		full, empty := make(chan batch, batches), make(chan batch, batches)
		for range batches {
			empty <- batch{recs: make([]owamp.Record, 0, chunk)}
		}
		go func() {
			defer close(full)
			raw := make([]byte, chunk*r.recordSize)
			next := first
			for b := range empty {
				if !r.batch(&b, raw, &next) {
					return
				}
				full <- b // there is room for all
			}
		}()
		// Nobody reads the file any more once this has returned.
		defer func() {
			close(empty)
			for range full {
			}
		}()
		for b := range full {
			if !b.yield(yield) {
				return
			}
			empty <- b
		}
	}
}

// yield yields b and reports whether more is wanted.
func (b *batch) yield(yield func([]owamp.Record, error) bool) bool {
	if len(b.recs) > 0 && !yield(b.recs, nil) {
		return false
	}
	if b.err != nil {
		yield(nil, b.err)
	}
	return b.err == nil
}

// batch reads the next records from the one at next on, as many as b has room
// for, by way of raw, and reports whether there was anything.
func (r *Reader) batch(b *batch, raw []byte, next *int64) bool {
	b.recs = b.recs[:0]
	for room := int64(cap(b.recs)); room > 0 && *next < r.records; {
		run := r.runOf(*next)
		end := r.records
		if run+1 < len(r.runs) {
			end = r.runs[run+1].first
		}
		n := min(end-*next, room)
		raw := raw[:n*r.recordSize]
		if b.err = r.read(raw, r.Offset(*next)); b.err != nil {
			return true
		}
		begin := len(b.recs)
		b.recs = b.recs[:int64(begin)+n]
		good, err := r.parseRecords(b.recs[begin:], raw)
		*next += int64(good)
		room -= n
		if err != nil {
			b.recs = b.recs[:begin+good]
			b.err = formatErrorf(r.Offset(*next), "%v", err)
			return true
		}
	}
	return len(b.recs) > 0
}

// parseRecords reads as many records as recs has room for from b, and returns
// how many there are before the first that no receiver writes.
func (r *Reader) parseRecords(recs []owamp.Record, b []byte) (good int, err error) {
	if r.recordSize == recordSize {
		return owamp.ParseRecords(recs, b)
	}
	for i := range recs {
		if recs[i], err = parseRecordV2((*[recordSizeV2]byte)(b[i*recordSizeV2:])); err != nil {
			return i, err
		}
	}
	return len(recs), nil
}
