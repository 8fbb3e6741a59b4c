package owp

import (
	"bufio"
	"fmt"
	"io"
	"iter"

	"owl/owamp"
)

// A Storer writes a whole file in one go, as the reference writes one that it
// has fetched: the skip ranges before the records, and the offset of both the
// same if there are none. Until [Storer.Close] there is part of a file.
type Storer struct {
	out     *bufio.Writer
	records uint32 // that the header promises
	stored  uint32
}

// NewStorer writes the header h, in version 3, and skips to w. It takes
// h.NumRecords for the number of records that will follow and len(skips) for
// that of skip ranges.
func NewStorer(w io.Writer, h *Header, skips []owamp.SkipRange) (*Storer, error) {
	if err := checkSpec(&h.Spec); err != nil {
		return nil, err
	}
	if len(skips) > maxSkips {
		return nil, fmt.Errorf("%d skip ranges, want at most %d", len(skips), maxSkips)
	}
	head := *h
	head.NumSkips = uint32(len(skips))
	begin := sizeOfHeader(len(h.Spec.Slots))
	s := &Storer{out: bufio.NewWriterSize(w, chunk*recordSize), records: h.NumRecords}
	octets := appendHeader(nil, &head, begin, begin+int64(len(skips))*skipSize)
	_, err := s.out.Write(appendSkips(octets, skips))
	return s, err
}

// Write writes the next records. It does not allocate.
func (s *Storer) Write(recs ...owamp.Record) error {
	for i := range recs {
		if err := recs[i].Validate(); err != nil {
			return err
		}
		if s.stored == s.records {
			return fmt.Errorf("more than %d records, want as many as the header says", s.records)
		}
		s.stored++
		if s.out.Available() < recordSize {
			if err := s.out.Flush(); err != nil {
				return err
			}
		}
		if _, err := s.out.Write(recs[i].Append(s.out.AvailableBuffer())); err != nil {
			return err
		}
	}
	return nil
}

// Close completes the file, which wants all of its records, and does not close
// the writer below.
func (s *Storer) Close() error {
	if s.stored != s.records {
		return fmt.Errorf("%d records, want %d as the header says", s.stored, s.records)
	}
	return s.out.Flush()
}

// Store writes a whole file with a [Storer].
func Store(w io.Writer, h *Header, skips []owamp.SkipRange, recs iter.Seq2[owamp.Record, error]) error {
	s, err := NewStorer(w, h, skips)
	if err != nil {
		return err
	}
	for r, err := range recs {
		if err != nil {
			return err
		}
		if err := s.Write(r); err != nil {
			return err
		}
	}
	return s.Close()
}
