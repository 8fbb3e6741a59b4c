package owp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"

	"owl/owamp"
)

// chunk is how many records are read and written at a time: 64 KB.
const chunk = 2621

// A Reader reads one file. It is safe for use by many goroutines.
type Reader struct {
	file       io.ReaderAt
	size       int64
	header     Header
	skips      []owamp.SkipRange
	data       int64 // where the records begin
	records    int64 // how many there are
	recordSize int64
	close      func() error
}

// Open reads the header and the skip ranges of the file path; the error names
// it. The caller closes the Reader.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := readerOf(f)
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
	r := &Reader{file: file, size: size, recordSize: recordSize}
	if err := r.readHeader(); err != nil {
		return nil, err
	}
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
func (r *Reader) Offset(i int64) int64 { return r.data + i*r.recordSize }

// Records yields all records, in the order of the file. An error is the last
// that it yields; a record that no receiver writes is a [*FormatError].
func (r *Reader) Records() iter.Seq2[owamp.Record, error] { return r.RecordsFrom(0) }

// RecordsFrom yields the records from the i-th on, counted from 0, and none if
// there are no more than i; see [Reader.Records].
func (r *Reader) RecordsFrom(i int64) iter.Seq2[owamp.Record, error] {
	first := max(i, 0)
	return func(yield func(owamp.Record, error) bool) {
		var buf []byte
		for i := first; i < r.records; {
			n := int(min(r.records-i, chunk) * r.recordSize)
			buf = slices.Grow(buf[:0], n)[:n]
			if err := r.read(buf, r.data+i*r.recordSize); err != nil {
				yield(owamp.Record{}, err)
				return
			}
			for b := buf; len(b) > 0; b = b[r.recordSize:] {
				rec, err := r.parseRecord(b)
				if err != nil {
					yield(owamp.Record{}, formatErrorf(r.data+i*r.recordSize, "%v", err))
					return
				}
				if !yield(rec, nil) {
					return
				}
				i++
			}
		}
	}
}

// parseRecord reads the record that b begins with.
func (r *Reader) parseRecord(b []byte) (owamp.Record, error) {
	if r.recordSize == recordSize {
		return owamp.ParseRecord((*[recordSize]byte)(b))
	}
	return parseRecordV2((*[recordSizeV2]byte)(b))
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

// need refuses a file that is not size octets long, which is where what ends.
func (r *Reader) need(size int64, what string) error {
	if r.size < size {
		return formatErrorf(r.size, "end of file within %s, want %d octets", what, size)
	}
	return nil
}

func (r *Reader) readHeader() error {
	if err := r.need(sizeV0, "the header"); err != nil {
		return err
	}
	// Fields beyond the end of the file are zero; need speaks before they are
	// looked at.
	var b [offSlots]byte
	if err := r.read(b[:min(r.size, int64(len(b)))], 0); err != nil {
		return err
	}
	if string(b[:len(magic)]) != magic {
		return formatErrorf(0, "%q, want %q: not an .owp file", b[:len(magic)], magic)
	}
	r.header.Version = binary.BigEndian.Uint32(b[offVersion:])
	switch r.header.Version {
	case version3:
		return r.readVersion3(b[:])
	case version2, version0:
		return r.readOlder(b[:])
	case versionTWAMP:
		return formatErrorf(offVersion, "version 0x83, the two-way records of TWAMP, want version 3, 2 or 0")
	default:
		return formatErrorf(offVersion, "version %d, want 3, 2 or 0", r.header.Version)
	}
}

func (r *Reader) readVersion3(b []byte) error {
	if err := r.need(offSlots, "the header"); err != nil {
		return err
	}
	if err := r.readFinished(b, offFinished); err != nil {
		return err
	}
	h := &r.header
	h.NextSeq = binary.BigEndian.Uint32(b[offNextSeq:])
	h.NumSkips = binary.BigEndian.Uint32(b[offNumSkips:])
	h.NumRecords = binary.BigEndian.Uint32(b[offNumRecords:])
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
	r.recordSize = recordSizeV2
	r.header.Finished = Incomplete
	end := int64(sizeV0)
	if r.header.Version == version2 {
		if err := r.need(offSlotsV2, "the header"); err != nil {
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
