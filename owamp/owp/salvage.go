package owp

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"

	"owl/owamp"
)

// maxPlaces is how many places of a damaged file are kept, 100 octets or so each.
const maxPlaces = 1000

// Damage is what was wrong with a file, and what of it was left out.
type Damage struct {
	// Places say where what was wrong, at most 1000 of them: first those in the
	// header, then the others as the file has them.
	Places   []*FormatError
	Unlisted int   // places beyond
	Octets   int64 // that are no records
	Records  int64 // for how many of them they have room
	// Contradictions counts records that can be right by themselves and
	// contradict others, which not this package finds: see [Damage.Contradict].
	// They are among Octets and Records.
	Contradictions int64
}

// add notes a place, which is wrong from offset on.
func (d *Damage) add(offset int64, format string, args ...any) {
	if len(d.Places) == maxPlaces {
		d.Unlisted++
		return
	}
	d.Places = append(d.Places, &FormatError{Offset: offset, What: fmt.Sprintf(format, args...)})
}

// leaveOut notes that there are no records from offset on to end.
func (d *Damage) leaveOut(offset, end, recordSize int64, why string) {
	d.add(offset, "%d octets are left out: %s", end-offset, why)
	d.Octets += end - offset
	d.Records += (end - offset + recordSize - 1) / recordSize
}

// Contradict notes that the i-th record of r, which is salvaged, contradicts
// others, and is left out by whoever has found that.
func (d *Damage) Contradict(r *Reader, i int64, why string) {
	d.leaveOut(r.Offset(i), r.Offset(i)+r.recordSize, r.recordSize, why)
	d.Contradictions++
}

// None reports whether nothing was wrong.
func (d *Damage) None() bool { return len(d.Places) == 0 }

// Salvage is [Open] for a file that may be damaged, see [NewSalvager].
func Salvage(path string) (r *Reader, d *Damage, err error) {
	r, err = open(path, func(f *os.File) (*Reader, error) {
		info, err := f.Stat()
		if err != nil {
			return nil, err
		}
		r, d, err = NewSalvager(f, info.Size())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return r, nil
	})
	return r, d, err
}

// NewSalvager returns a Reader of what is undamaged of file, which is size
// octets long and may be cut off, or overwritten, anywhere: of the records that
// can be right by the session's schedule, wherever between the header and the
// end they are. Of what the header says only the session has to be right;
// without it, and where no record fits it, there is a [*FormatError].
//
// The file is read once, and 64 MB of memory hold enough of its schedule.
func NewSalvager(file io.ReaderAt, size int64) (*Reader, *Damage, error) {
	s := &salvager{Reader: &Reader{file: file, size: size}, damage: &Damage{}}
	b, err := s.readStart()
	if err != nil {
		return nil, nil, err
	}
	if err := s.readSections(b); err != nil {
		return nil, nil, err
	}
	if s.header.Version != version0 {
		if s.schedule, err = newTimetable(&s.header.Spec); err != nil {
			return nil, nil, formatErrorf(offRequest, "session: %v", err)
		}
	}
	if err := s.scan(); err != nil {
		return nil, nil, err
	}
	return s.Reader, s.damage, nil
}

// A salvager makes a Reader of a damaged file.
type salvager struct {
	*Reader
	damage *Damage
	end    int64 // no record ends behind it

	promised   uint32 // skip ranges, by the header, that are still to be found
	promisedAt uint64 // where by the header

	schedule *timetable // nil in version 0
	buf      []byte
	from     int64 // where buf begins in the file
}

// readSections finds the session, the skip ranges, and where records may be.
func (s *salvager) readSections(b []byte) error {
	s.end = s.size
	switch s.header.Version {
	case version0:
		s.header.Finished = Incomplete
		s.dataOffset(b, offDataOffsetV2, sizeV0)
		s.data = sizeV0
		return nil
	case version2:
		s.readFinishedLoosely(b, offFinishedV2)
		begin, err := s.readSession(b, offRequestV2)
		if err != nil {
			return err
		}
		s.dataOffset(b, offDataOffsetV2, begin)
		if begin > s.size {
			s.damage.add(s.size, "the file ends within the header, which has %d octets", begin)
		}
		s.data = min(begin, s.size)
		return nil
	}
	s.readFinishedLoosely(b, offFinished)
	begin, err := s.readSession(b, offRequest)
	if err != nil {
		return err
	}
	s.readCounts(b)
	s.readLayout(b, begin)
	return nil
}

// readSession reads the session, and returns where the first section begins.
func (s *salvager) readSession(b []byte, offset int64) (int64, error) {
	if err := s.need(offset + owamp.RequestSize); err != nil {
		return 0, err
	}
	end, err := s.readSpec(b, offset)
	return end + owamp.BlockSize, err
}

func (s *salvager) readFinishedLoosely(b []byte, at int64) {
	if err := s.readFinished(b, at); err != nil {
		s.header.Finished = Incomplete
		s.damage.add(at, "finished is %d, want 0, 1 or 2: taken for 2", binary.BigEndian.Uint32(b[at:]))
	}
}

// dataOffset checks the offset of the records, which is to be want.
func (s *salvager) dataOffset(b []byte, at, want int64) {
	if offset := binary.BigEndian.Uint64(b[at:]); offset != uint64(want) {
		s.damage.add(at, "records at %d, want them at %d", offset, want)
	}
}

// readLayout finds the sections of version 3, of which the first begins at
// begin: skip ranges before the records, behind them, or none. What the header
// says of that holds if it fits together, and the file.
func (s *salvager) readLayout(b []byte, begin int64) {
	h := &s.header
	if h.NextSeq > h.Spec.Packets {
		s.damage.add(offNextSeq, "next sequence number %d, want at most %d: taken for that", h.NextSeq, h.Spec.Packets)
		h.NextSeq = h.Spec.Packets
	}
	skips := binary.BigEndian.Uint64(b[offSkipsOffset:])
	promised := h.NumSkips
	h.NumSkips = 0
	if skips == uint64(begin) && s.trySkips(begin, promised) {
		begin += int64(promised) * skipSize
		promised = 0
	}
	if h.NumRecords > 0 || h.NumSkips == 0 {
		s.dataOffset(b, offDataOffset, begin) // of no records it may be that of the skip ranges
	}
	end := begin + int64(h.NumRecords)*recordSize
	size := end + int64(promised)*skipSize
	switch {
	case skips == 0 && h.Finished != Normal:
		end = s.size // the number of records follows from it
	case promised > 0 && skips == uint64(end) && size == s.size && s.trySkips(end, promised):
		promised = 0
	case end > s.size:
		s.damage.add(offNumRecords, "%d records, want at most the %d that the file has room for", h.NumRecords, (s.size-begin)/recordSize)
		end = s.size
	case size != s.size:
		s.damage.add(offNumRecords, "%d records and %d skip ranges that end at %d, want the end of file at %d", h.NumRecords, h.NumSkips+promised, size, s.size)
		end = s.size
	case skips != 0 && skips != uint64(end) && skips != uint64(begin)-uint64(h.NumSkips)*skipSize:
		s.damage.add(offSkipsOffset, "skip ranges at %d, want them at %d", skips, end)
		end = s.size
	}
	s.data, s.end = min(begin, s.size), end
	s.promised, s.promisedAt = promised, skips
}

// trySkips reads n skip ranges at offset, and reports whether that is what is
// there.
func (s *salvager) trySkips(offset int64, n uint32) bool {
	if n == 0 {
		return true
	}
	s.header.NumSkips = n
	packets := s.header.Spec.Packets
	if s.readSkips(offset) == nil && owamp.ValidateSkips(s.skips, packets, packets) == nil {
		return true
	}
	s.header.NumSkips, s.skips = 0, nil
	return false
}

// salvageSkips looks for the skip ranges that the header promises behind the
// last record, and returns where they end.
func (s *salvager) salvageSkips(last int64) int64 {
	n := uint32(min((s.end-last)/skipSize, int64(s.promised)))
	whole := last+int64(s.promised)*skipSize == s.end && !s.torn(last)
	if n > 0 && (whole || uint64(last) == s.promisedAt) && s.trySkips(last, n) {
		last += int64(n) * skipSize
	} else {
		n = 0
	}
	if n < s.promised {
		s.damage.add(offNumSkips, "%d skip ranges, of which %d can be used", s.promised, n)
	}
	return last
}

// torn reports whether a record may begin at offset that the file has a part
// of.
func (s *salvager) torn(offset int64) bool {
	var b [8]byte
	if s.end-offset >= recordSize || s.end-offset < int64(len(b)) || s.read(b[:], offset) != nil {
		return false
	}
	sent, recv := owamp.ErrorEstimate(binary.BigEndian.Uint16(b[4:])), owamp.ErrorEstimate(binary.BigEndian.Uint16(b[6:]))
	return sent.Valid() && recv.Valid()
}

// scan finds the runs of records that can be right.
func (s *salvager) scan() error {
	step := int64(1)
	if s.schedule == nil {
		step = s.recordSize // nothing would tell a record that is elsewhere
	}
	var (
		at  = s.data
		gap = s.data // where the last record ends
		why error    // there is none
	)
	for at+s.recordSize <= s.end {
		b, err := s.octets(at)
		if err != nil {
			return err
		}
		if gap < at && !s.promising(b) {
			at += step
			continue
		}
		if err := s.check(b); err != nil {
			if gap == at {
				why = err
			}
			at += step
			continue
		}
		if gap < at {
			s.damage.leaveOut(gap, at, s.recordSize, why.Error())
		}
		if gap < at || s.records == 0 {
			s.runs = append(s.runs, run{s.records, at})
		}
		s.records++
		at += s.recordSize
		gap = at
	}
	if gap == at {
		why = fmt.Errorf("end of file, want %d octets more", at+s.recordSize-s.end)
	}
	if s.promised > 0 {
		gap = s.salvageSkips(gap)
	}
	if gap < s.end {
		s.damage.leaveOut(gap, s.end, s.recordSize, why.Error())
	}
	return s.judge(why)
}

// judge reports whether the records that were found are those of the session.
func (s *salvager) judge(why error) error {
	if s.records == 0 {
		s.runs = []run{{offset: s.data}}
	}
	if s.schedule == nil {
		return nil
	}
	if s.records == 0 && s.end-s.data >= s.recordSize {
		return formatErrorf(offRequest, "session: no record fits it: %v", why)
	}
	if err := s.schedule.verdict(); err != nil {
		return formatErrorf(offRequest, "session: %v", err)
	}
	return nil
}

// octets returns what the file has from offset on, at least a record.
func (s *salvager) octets(offset int64) ([]byte, error) {
	if offset+s.recordSize > s.from+int64(len(s.buf)) {
		s.from = offset
		n := int(min(s.end-offset, chunk*recordSize))
		s.buf = slices.Grow(s.buf[:0], n)[:n]
		if err := s.read(s.buf, offset); err != nil {
			return nil, err
		}
	}
	return s.buf[offset-s.from:], nil
}

// promising reports whether b may begin with a record, at little cost: what lies
// between records may be gigabytes.
func (s *salvager) promising(b []byte) bool {
	sent, recv := 5, 7 // the multipliers of the error estimates
	if s.recordSize == recordSizeV2 {
		sent, recv = 13, 23
	}
	return b[sent] != 0 && b[recv] != 0 && (s.schedule == nil || binary.BigEndian.Uint32(b) < s.header.Spec.Packets)
}

// check reports why b does not begin with a record that can be right.
func (s *salvager) check(b []byte) error {
	var r [1]owamp.Record
	if _, err := s.parseRecords(r[:], b); err != nil || s.schedule == nil {
		return err
	}
	return s.schedule.check(&r[0])
}
