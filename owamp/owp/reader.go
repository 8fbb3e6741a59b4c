package owp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"sort"

	"owl/owamp"
)

// A Reader reads one file. It is safe for use by many goroutines.
type Reader struct {
	file       io.ReaderAt
	size       int64
	header     Header
	skips      []owamp.SkipRange
	data       int64 // where the records begin
	records    int64 // how many there are
	recordSize int64
	runs       []run // of records, without a gap in the first place
	close      func() error
}

// A run is a row of records without a gap. It ends with the file's records, or
// where those before the next run have been counted.
type run struct {
	first  int64 // how many records there are before it
	offset int64 // where it begins in the file
}

// Open reads the header and the skip ranges of the file path; the error names
// it. The caller closes the Reader.
func Open(path string) (*Reader, error) {
	return open(path, readerOf)
}

// open opens the file path for a reader, which closes it.
func open(path string, reader func(*os.File) (*Reader, error)) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := reader(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	r.close = f.Close
	return r, nil
}

// readerOf reads what f holds now.
func readerOf(f *os.File) (*Reader, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	r, err := NewReader(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return r, nil
}

// NewReader reads the header and the skip ranges of file, which is size octets
// long. A file that is damaged, or that is settled and shorter than it says, is
// a [*FormatError]. A file that is not yet settled has the records that were
// whole when its size was taken.
func NewReader(file io.ReaderAt, size int64) (*Reader, error) {
	r := &Reader{file: file, size: size}
	b, err := r.readStart()
	if err != nil {
		return nil, err
	}
	if r.header.Version == version3 {
		err = r.readVersion3(b)
	} else {
		err = r.readOlder(b)
	}
	if err != nil {
		return nil, err
	}
	r.runs = []run{{offset: r.data}}
	return r, nil
}

// Close closes the file if [Open] has opened it.
func (r *Reader) Close() error {
	if r.close == nil {
		return nil
	}
	return r.close()
}

// Header returns what the file says of its session. It is the Reader's own.
func (r *Reader) Header() *Header { return &r.header }

// Skips returns the packets that the sender never sent, as the file has them:
// no range ends before it begins, but they may overlap. They are the Reader's
// own.
func (r *Reader) Skips() []owamp.SkipRange { return r.skips }

// Len returns the number of records.
func (r *Reader) Len() int64 { return r.records }

// Offset returns where in the file the i-th record begins, in octets.
func (r *Reader) Offset(i int64) int64 {
	run := r.runs[r.runOf(i)]
	return run.offset + (i-run.first)*r.recordSize
}

// runOf returns the run that the i-th record belongs to.
func (r *Reader) runOf(i int64) int {
	return max(0, sort.Search(len(r.runs), func(n int) bool { return r.runs[n].first > i })-1)
}

// Records yields all records, in the order of the file. An error is the last
// that it yields; a record that no receiver writes is a [*FormatError].
func (r *Reader) Records() iter.Seq2[owamp.Record, error] { return r.RecordsFrom(0) }

// RecordsFrom yields the records from the i-th on, counted from 0, and none if
// there are no more than i; see [Reader.Records].
func (r *Reader) RecordsFrom(i int64) iter.Seq2[owamp.Record, error] {
	return func(yield func(owamp.Record, error) bool) {
		for recs, err := range r.Batches(i) {
			if err != nil {
				yield(owamp.Record{}, err)
				return
			}
			for _, rec := range recs {
				if !yield(rec, nil) {
					return
				}
			}
		}
	}
}

// read fills b from offset on.
func (r *Reader) read(b []byte, offset int64) error {
	n, err := r.file.ReadAt(b, offset)
	switch {
	case n == len(b):
		return nil
	case errors.Is(err, io.EOF):
		return formatErrorf(offset+int64(n), "end of file, want %d octets more", len(b)-n)
	default:
		return fmt.Errorf("octet %d: %w", offset+int64(n), err)
	}
}

// need refuses a file that is not size octets long, which belong to the header.
func (r *Reader) need(size int64) error {
	if r.size < size {
		return formatErrorf(r.size, "end of file within the header, want %d octets", size)
	}
	return nil
}

// readStart reads what a file begins with, as far as the slots of version 3, and
// what all versions have there. Fields beyond the end of the file are zero: need
// speaks before they are looked at.
func (r *Reader) readStart() ([]byte, error) {
	if err := r.need(sizeV0); err != nil {
		return nil, err
	}
	b := make([]byte, offSlots)
	if err := r.read(b[:min(r.size, int64(len(b)))], 0); err != nil {
		return nil, err
	}
	if string(b[:len(magic)]) != magic {
		return nil, formatErrorf(0, "%q, want %q: not an .owp file", b[:len(magic)], magic)
	}
	r.header.Version = binary.BigEndian.Uint32(b[offVersion:])
	switch r.header.Version {
	case version3:
		r.recordSize = recordSize
	case version2, version0:
		r.recordSize = recordSizeV2
	case versionTWAMP:
		return nil, formatErrorf(offVersion, "version 0x83, the two-way records of TWAMP, want version 3, 2 or 0")
	default:
		return nil, formatErrorf(offVersion, "version %d, want 3, 2 or 0", r.header.Version)
	}
	return b, nil
}

func (r *Reader) readVersion3(b []byte) error {
	if err := r.need(offSlots); err != nil {
		return err
	}
	if err := r.readFinished(b, offFinished); err != nil {
		return err
	}
	r.readCounts(b)
	h := &r.header
	end, err := r.readSpec(b, offRequest)
	if err != nil {
		return err
	}
	r.data, err = r.offset(b, offDataOffset, end)
	if err != nil {
		return err
	}
	room := (r.size - r.data) / recordSize
	if int64(h.NumRecords) > room {
		return formatErrorf(offNumRecords, "%d records, want at most the %d that the file has room for", h.NumRecords, room)
	}
	// A file whose skip ranges have a place is as long as it will be without
	// them, so that its header counts its records.
	r.records = int64(h.NumRecords)
	if h.Finished != Normal && binary.BigEndian.Uint64(b[offSkipsOffset:]) == 0 {
		r.records = room
	}
	if h.NumSkips == 0 {
		return nil
	}
	skips, err := r.offset(b, offSkipsOffset, end)
	if err != nil {
		return err
	}
	return r.readSkips(skips)
}

// readCounts reads the numbers of version 3.
func (r *Reader) readCounts(b []byte) {
	r.header.NextSeq = binary.BigEndian.Uint32(b[offNextSeq:])
	r.header.NumSkips = binary.BigEndian.Uint32(b[offNumSkips:])
	r.header.NumRecords = binary.BigEndian.Uint32(b[offNumRecords:])
}

// readSkips reads the skip ranges, which begin at offset.
func (r *Reader) readSkips(offset int64) error {
	n := int64(r.header.NumSkips)
	if room := min((r.size-offset)/skipSize, maxSkips); n > room {
		return formatErrorf(offNumSkips, "%d skip ranges, want at most %d", n, room)
	}
	if end := r.data + r.records*recordSize; offset < end && offset+n*skipSize > r.data {
		return formatErrorf(offSkipsOffset, "%d skip ranges at %d, want them apart from the records at %d to %d", n, offset, r.data, end)
	}
	b := make([]byte, n*skipSize)
	if err := r.read(b, offset); err != nil {
		return err
	}
	r.skips = make([]owamp.SkipRange, n)
	for i := range r.skips {
		at := i * skipSize
		s, err := owamp.ParseSkip((*[skipSize]byte)(b[at:]))
		if err != nil {
			return formatErrorf(offset+int64(at), "%v", err)
		}
		r.skips[i] = s
	}
	return nil
}

// readOlder reads the header of version 2 and 0.
func (r *Reader) readOlder(b []byte) (err error) {
	r.header.Finished = Incomplete
	end := int64(sizeV0)
	if r.header.Version == version2 {
		if err := r.need(offSlotsV2); err != nil {
			return err
		}
		if err := r.readFinished(b, offFinishedV2); err != nil {
			return err
		}
		if end, err = r.readSpec(b, offRequestV2); err != nil {
			return err
		}
	}
	r.data, err = r.offset(b, offDataOffsetV2, end)
	if err != nil {
		return err
	}
	r.records = (r.size - r.data) / recordSizeV2
	return nil
}

func (r *Reader) readFinished(b []byte, at int64) error {
	r.header.Finished = Finished(binary.BigEndian.Uint32(b[at:]))
	if r.header.Finished > Incomplete {
		return formatErrorf(at, "finished is %d, want 0, 1 or 2", uint32(r.header.Finished))
	}
	return nil
}

// offset reads the offset of a section, which lies behind the header.
func (r *Reader) offset(b []byte, at, end int64) (int64, error) {
	v := binary.BigEndian.Uint64(b[at:])
	if v < uint64(end) || v > uint64(r.size) {
		return 0, formatErrorf(at, "offset %d, want %d, the end of the header, to %d, that of the file", v, end, r.size)
	}
	return int64(v), nil
}

// readSpec reads the Request-Session that b has at offset, and the slots that
// the file has behind it; it returns where they end.
func (r *Reader) readSpec(b []byte, offset int64) (int64, error) {
	spec, n, err := owamp.ParseRequest((*[owamp.RequestSize]byte)(b[offset:]))
	if err != nil {
		return 0, formatErrorf(offset, "session: %v", err)
	}
	begin := offset + owamp.RequestSize
	if room := min((r.size-begin)/owamp.SlotSize, maxSlots); int64(n) > room {
		return 0, formatErrorf(offset+4, "%d slots, want at most %d", n, room)
	}
	slots := make([]byte, int(n)*owamp.SlotSize)
	if err := r.read(slots, begin); err != nil {
		return 0, err
	}
	spec.Slots = make([]owamp.Slot, n)
	for i := range spec.Slots {
		at := i * owamp.SlotSize
		spec.Slots[i], err = owamp.ParseSlot((*[owamp.SlotSize]byte)(slots[at:]))
		if err != nil {
			return 0, formatErrorf(begin+int64(at), "slot %d: %v", i, err)
		}
	}
	r.header.Spec = spec
	return begin + int64(len(slots)), nil
}
