package flent

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"owl/archive/dest/flent/datafile"
)

const (
	spoolPattern = ".owl-flent-*.spool"
	spoolFormat  = 1
	maxSpool     = 1 << 30  // octets, then its file is made before its time
	maxParts     = 100_000  // results, likewise: the file's metadata have the IDs of all
	maxLine      = 64 << 20 // octets of what is between packets, and of the packets of a result
	sampleSize   = 8 + 8 + 4
	lostDelay    = math.MinInt64 // of a packet that was lost
)

// A header is the first line of a spool.
type header struct {
	Format   int            `json:"owl-flent-spool"`
	Settings settings       `json:"settings"`
	Period   int64          `json:"period"` // which one since 1970
	Task     string         `json:"task"`   // empty: of all
	Facts    map[string]any `json:"facts"`
}

// A spool is a file that has the results of a data file that is going to be: after
// the header, for each a line and its packets. What was appended is on the disk.
// Only the process that has its lock may use it.
type spool struct {
	header
	f       *os.File
	size    int64
	parts   []*part
	known   map[string]bool // IDs of the parts
	longest time.Duration   // that one took
	last    time.Time       // when the last one came
}

// createSpool makes a spool.
func createSpool(dir string, h header, now time.Time) (*spool, error) {
	f, err := os.CreateTemp(dir, spoolPattern)
	if err != nil {
		return nil, err
	}
	s := &spool{header: h, f: f, known: make(map[string]bool), last: now}
	line, err := json.Marshal(&s.header)
	if err == nil {
		err = lock(f)
	}
	if err == nil {
		err = s.write(append(line, '\n'))
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return nil, errors.Join(err, s.remove())
	}
	return s, nil
}

func lock(f *os.File) error {
	return os.NewSyscallError("flock", unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB))
}

// openSpool opens a spool that a process has left behind. What is torn at its end
// is cut off: nobody was told that it is there.
func openSpool(path string, now time.Time) (*spool, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil { // another process has it
		return nil, errors.Join(err, f.Close())
	}
	s := &spool{f: f, known: make(map[string]bool), last: now}
	if err := s.load(); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// load reads what there is.
func (s *spool) load() error {
	info, err := s.f.Stat()
	if err != nil {
		return err
	}
	r := bufio.NewReaderSize(io.NewSectionReader(s.f, 0, info.Size()), 1<<16)
	line, err := readLine(r)
	if err == nil {
		err = json.Unmarshal(line, &s.header)
	}
	if err != nil || s.Format != spoolFormat || s.Settings.Period < minPeriod {
		return errors.Join(errors.New("no spool of data files of Flent"), err)
	}
	s.size = int64(len(line))
	for {
		line, err := readLine(r)
		if err != nil {
			break
		}
		var e entry
		if json.Unmarshal(line, &e) != nil || e.ID == "" || e.Packets < 0 || e.Packets > maxLine/sampleSize {
			break
		}
		from, length := s.size+int64(len(line)), int64(e.Packets)*sampleSize
		if from+length > info.Size() {
			break
		}
		sum := crc32.NewIEEE()
		if _, err := io.CopyN(sum, r, length); err != nil || sum.Sum32() != e.Sum {
			break
		}
		s.take(e, from)
		s.size = from + length
	}
	return s.f.Truncate(s.size)
}

// readLine reads a line with its end.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		piece, err := r.ReadSlice('\n')
		line = append(line, piece...)
		switch {
		case err == nil:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull) || len(line) > maxLine:
			return nil, errors.Join(err, errors.New("no line"))
		}
	}
}

// append appends a result and its packets.
func (s *spool) append(p *part, now time.Time) error {
	data := make([]byte, 0, p.Packets*sampleSize)
	for k, err := range p.samples {
		if err != nil {
			return err
		}
		delay := k.Delay
		if k.Lost {
			delay = lostDelay
		}
		data = binary.BigEndian.AppendUint64(data, uint64(k.Sent))
		data = binary.BigEndian.AppendUint64(data, uint64(delay))
		data = binary.BigEndian.AppendUint32(data, k.Seq)
	}
	e := p.entry
	e.Sum = crc32.ChecksumIEEE(data)
	line, err := json.Marshal(&e)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	from := s.size + int64(len(line))
	if err := s.write(append(line, data...)); err != nil {
		return err
	}
	s.take(e, from)
	s.last = now
	return nil
}

// write appends b, or nothing.
func (s *spool) write(b []byte) error {
	_, err := s.f.WriteAt(b, s.size)
	if err == nil {
		err = s.f.Sync()
	}
	if err != nil {
		return errors.Join(err, s.f.Truncate(s.size))
	}
	s.size += int64(len(b))
	return nil
}

// take notes a result whose packets begin at from.
func (s *spool) take(e entry, from int64) {
	s.known[e.ID] = true
	s.longest = max(s.longest, time.Duration(e.Length))
	s.parts = append(s.parts, &part{e, func(yield func(datafile.Sample, error) bool) {
		r := bufio.NewReaderSize(io.NewSectionReader(s.f, from, int64(e.Packets)*sampleSize), 1<<15)
		var b [sampleSize]byte
		for range e.Packets {
			if _, err := io.ReadFull(r, b[:]); err != nil {
				yield(datafile.Sample{}, fmt.Errorf("%s: %w", s.f.Name(), err))
				return
			}
			k := datafile.Sample{Sent: int64(binary.BigEndian.Uint64(b[:])), Delay: int64(binary.BigEndian.Uint64(b[8:])), Seq: binary.BigEndian.Uint32(b[16:])}
			if k.Delay == lostDelay {
				k.Delay, k.Lost = 0, true
			}
			if !yield(k, nil) {
				return
			}
		}
	}})
}

// end returns when the period of the spool is over.
func (s *spool) end() time.Time {
	return time.Unix(0, (s.Period+1)*int64(s.Settings.Period))
}

// remove removes the spool, of which there is a data file now. It is no error if
// somebody has done that already.
func (s *spool) remove() error {
	if err := os.Remove(s.f.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s.f.Close() // nobody wants what it says
	return nil
}

// syncDir makes names last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// spoolsIn returns the paths of the spools in dir.
func spoolsIn(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		if match, _ := filepath.Match(spoolPattern, e.Name()); match && e.Type().IsRegular() {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil
}
