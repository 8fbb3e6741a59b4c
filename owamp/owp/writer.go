package owp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"

	"owl/owamp"
)

// A Writer writes the file of a session that this host receives. Records pass
// through a buffer; what has reached the file is at every moment a valid file
// of an incomplete session, whatever happens to the process.
//
// After its first error, and after Finish or FinishIncomplete, every method that
// can fail does. A Writer has one user at a time and closes nothing.
type Writer struct {
	file    storage
	packets uint32
	timeout owamp.Interval
	data    int64 // where the records begin
	records int64 // in the file and in buf
	buf     []byte
	most    int // octets of buf
	err     error

	received bool
	greatest uint32 // sequence number of a packet that was received
}

// storage is what a Writer needs of a File.
type storage interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Sync() error
}

// A File is where a Writer writes to; an *os.File is one.
type File interface {
	storage
	Name() string
	Stat() (fs.FileInfo, error)
}

var errFinished = errors.New("the .owp file is finished: want no more of it")

// Create writes the header for spec to f, which is empty, and open for reading
// and writing, not for appending. The file says that its session is incomplete
// until [Writer.Finish].
func Create(f File, spec *owamp.SessionSpec) (*Writer, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() != 0 {
		return nil, fmt.Errorf("%s: %d octets long, want an empty file", f.Name(), info.Size())
	}
	if err := checkSpec(spec); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return create(f, spec)
}

func create(f storage, spec *owamp.SessionSpec) (*Writer, error) {
	w := newWriter(f, spec)
	head := appendHeader(nil, &Header{Finished: Incomplete, Spec: *spec}, 0, w.data)
	if _, err := f.WriteAt(head, 0); err != nil {
		return nil, err
	}
	return w, nil
}

func newWriter(f storage, spec *owamp.SessionSpec) *Writer {
	return &Writer{
		file:    f,
		packets: spec.Packets,
		timeout: spec.Timeout,
		data:    sizeOfHeader(len(spec.Slots)),
		most:    int(min(chunk, max(int64(spec.Packets), 1)) * recordSize),
	}
}

// Len returns the number of records written so far, including those that wait
// for [Writer.Flush].
func (w *Writer) Len() int64 { return w.records }

// Write appends recs. Once its buffer has grown, it does not allocate. A record
// without a valid error estimate is an error: no reader takes it.
func (w *Writer) Write(recs ...owamp.Record) error {
	for i := range recs {
		if w.err != nil {
			break
		}
		w.err = w.write(&recs[i])
	}
	return w.err
}

func (w *Writer) write(r *owamp.Record) error {
	if err := r.Validate(); err != nil {
		return err
	}
	if w.records == math.MaxUint32 {
		return fmt.Errorf("record %d: want at most %[1]d in a file", w.records)
	}
	if len(w.buf) == w.most {
		if err := w.Flush(); err != nil {
			return err
		}
	}
	w.reserve()
	w.buf = r.Append(w.buf)
	w.count(r)
	return nil
}

// leastBuffer is how much room there is at first, in records: of most sessions
// there are fewer between two times of Flush, and there may be thousands.
const leastBuffer = 32

// reserve sees to it that buf has room for a record. It grows to what comes
// between two times of Flush.
func (w *Writer) reserve() {
	if len(w.buf) < cap(w.buf) {
		return
	}
	size := min(max(leastBuffer*recordSize, 2*cap(w.buf)), w.most)
	w.buf = append(make([]byte, 0, size), w.buf...)
}

// count takes note of the next record.
func (w *Writer) count(r *owamp.Record) {
	w.records++
	if !r.Lost() {
		w.received = true
		w.greatest = max(w.greatest, r.Seq)
	}
}

// Flush writes what is buffered, so that a [Reader] of the file finds it.
func (w *Writer) Flush() error {
	if w.err != nil || len(w.buf) == 0 {
		return w.err
	}
	_, w.err = w.file.WriteAt(w.buf, w.end()-int64(len(w.buf)))
	if w.err == nil {
		w.buf = w.buf[:0]
	}
	return w.err
}

// end returns where the records end.
func (w *Writer) end() int64 { return w.data + w.records*recordSize }

// Finish completes the file of a session whose sender, in the Stop-Sessions
// that arrived at stopped, said that it stopped before packet nextSeq and never
// sent skips (RFC 4656 section 3.8). Records of packet nextSeq and later ones
// are dropped, and those of packets sent less than a timeout before stopped. To
// what [owamp.ValidateSkips] refuses Finish answers with an error that leaves
// the Writer as it was.
//
// Only when all else is on the disk does the header say that the session is
// finished; when Finish returns, that is on the disk, too.
func (w *Writer) Finish(nextSeq uint32, skips []owamp.SkipRange, stopped owamp.Timestamp) error {
	if err := owamp.ValidateSkips(skips, nextSeq, w.packets); err != nil {
		return err
	}
	if len(skips) > maxSkips {
		return fmt.Errorf("%d skip ranges, want at most %d", len(skips), maxSkips)
	}
	cut := stopped - owamp.Timestamp(w.timeout)
	return w.finish(func() error {
		err := w.retain(func(r owamp.Record) bool { return r.Seq < nextSeq && !r.Sent.After(cut) })
		if err != nil {
			return err
		}
		// From here on the header counts the records, so that no reader takes
		// skip ranges for some.
		end := w.end()
		if err := w.writeCount(w.records, end); err != nil {
			return err
		}
		if _, err := w.file.WriteAt(appendSkips(nil, skips), end); err != nil {
			return err
		}
		if err := w.file.Sync(); err != nil {
			return err
		}
		var b [offNumRecords - offFinished]byte
		binary.BigEndian.PutUint32(b[0:], uint32(Normal))
		binary.BigEndian.PutUint32(b[offNextSeq-offFinished:], nextSeq)
		binary.BigEndian.PutUint32(b[offNumSkips-offFinished:], uint32(len(skips)))
		_, err = w.file.WriteAt(b[:], offFinished)
		return err
	})
}

// FinishIncomplete completes the file of a session whose end the sender never
// told. What was declared lost after the last packet that was received may
// never have been sent, so its records are dropped. When FinishIncomplete
// returns, the file is on the disk.
func (w *Writer) FinishIncomplete() error {
	return w.finish(func() error {
		err := w.retain(func(r owamp.Record) bool { return w.received && r.Seq <= w.greatest })
		if err != nil {
			return err
		}
		return w.writeCount(w.records, 0)
	})
}

// finish flushes, settles and syncs, once.
func (w *Writer) finish(settle func() error) error {
	if w.err = w.Flush(); w.err != nil {
		return w.err
	}
	if w.err = settle(); w.err != nil {
		return w.err
	}
	if w.err = w.file.Sync(); w.err != nil {
		return w.err
	}
	w.buf, w.err = nil, errFinished
	return nil
}

// writeCount writes into the header how many records there are and where the
// skip ranges begin, 0 if nowhere.
func (w *Writer) writeCount(records, skips int64) error {
	var b [offDataOffset - offNumRecords]byte
	binary.BigEndian.PutUint32(b[0:], uint32(records))
	binary.BigEndian.PutUint64(b[offSkipsOffset-offNumRecords:], uint64(skips))
	_, err := w.file.WriteAt(b[:], offNumRecords)
	return err
}

// retain drops the records that keep refuses, and whatever lies behind the last
// one. Nothing is buffered.
func (w *Writer) retain(keep func(owamp.Record) bool) error {
	kept := int64(-1) // how many have been kept; -1 until one is dropped
	buf := make([]byte, min(chunk, w.records)*recordSize)
	for i := int64(0); i < w.records; {
		b := buf[:min(w.records-i, int64(len(buf)/recordSize))*recordSize]
		if _, err := w.file.ReadAt(b, w.data+i*recordSize); err != nil {
			return fmt.Errorf("reading record %d again: %w", i, err)
		}
		staying := b[:0]
		for ; len(b) > 0; b = b[recordSize:] {
			r, err := owamp.ParseRecord((*[recordSize]byte)(b))
			if err != nil {
				return fmt.Errorf("reading record %d again: %w", i, err)
			}
			stays := keep(r)
			if !stays && kept < 0 {
				// What follows is going to move. The file ends here until that
				// is done, so that it never shows a record twice.
				kept = i
				if err := w.writeCount(kept, w.data+kept*recordSize); err != nil {
					return err
				}
			}
			if stays && kept >= 0 {
				staying = append(staying, b[:recordSize]...)
			}
			i++
		}
		if len(staying) > 0 {
			if _, err := w.file.WriteAt(staying, w.data+kept*recordSize); err != nil {
				return err
			}
			kept += int64(len(staying) / recordSize)
		}
	}
	if kept >= 0 {
		w.records = kept
	}
	return w.file.Truncate(w.end())
}
