package tstat

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	// maxLine bounds a line of a log, in octets. What is longer is not read, so that
	// a slice stays small whatever there is in a log: those of tstat have at most
	// some thousand octets.
	maxLine = 16 << 10
	// readAhead is how much is read at a time, in octets.
	readAhead = 128 << 10
)

// A protocol is that of a log's flows.
type protocol uint8

const (
	tcp protocol = iota
	udp
)

// protocols are all of them, in the order in which their logs are read.
var protocols = [...]protocol{tcp, udp}

func (p protocol) String() string {
	if p == tcp {
		return "tcp"
	}
	return "udp"
}

// logName returns the name of the log.
func (p protocol) logName() string { return "log_" + p.String() + "_complete" }

// A lineError says which line of a log cannot be read, and why.
type lineError struct {
	line int64
	err  error
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }
func (e *lineError) Unwrap() error { return e.err }

// A logReader reads a log of tstat, whose first line says what its columns are.
type logReader struct {
	in      *bufio.Reader
	offset  int64 // of what comes next, in octets
	line    int64 // of what was read last
	columns []string
	least   int // cells that a line must have; there may be a blank behind the last name
	row     row
}

// A row is a line of a log, valid until the next is read.
type row struct {
	offset int64 // of its begin, in octets
	line   int64 // its number; the first of a file is 1
	text   []byte
	ends   []int // of the cells
}

// newLogReader returns a reader of a log, of which it has read the first line. An
// empty log has no columns.
func newLogReader(in io.Reader) (*logReader, error) {
	r := &logReader{in: bufio.NewReaderSize(in, readAhead)}
	text, err := r.read()
	switch {
	case errors.Is(err, io.EOF):
		return r, nil
	case err != nil:
		return nil, err
	}
	for cell := range bytes.SplitSeq(text, []byte{' '}) {
		r.columns = append(r.columns, columnName(cell))
	}
	r.least = len(r.columns)
	if r.columns[r.least-1] == "" && r.least > 1 {
		r.least--
	}
	return r, nil
}

// columnName returns the name of a column, which is c_ip for #15#c_ip:1.
func columnName(cell []byte) string {
	cell = cell[bytes.LastIndexByte(cell, '#')+1:]
	name, _, _ := bytes.Cut(cell, []byte{':'})
	return string(name)
}

// column returns where a column is, or else -1. Of several with a name it is the
// last.
func (r *logReader) column(name string) int {
	for i, column := range slices.Backward(r.columns) {
		if column == name {
			return i
		}
	}
	return -1
}

var errTooLong = fmt.Errorf("more than %d octets: want fewer", maxLine)

// read returns the next line without its end. A line that is too long is an
// error, and was read.
func (r *logReader) read() ([]byte, error) {
	text, err := r.in.ReadSlice('\n')
	r.line++
	r.offset += int64(len(text))
	tooLong := len(text) > maxLine
	for errors.Is(err, bufio.ErrBufferFull) {
		text, err = r.in.ReadSlice('\n')
		r.offset += int64(len(text))
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if tooLong {
		return nil, &lineError{r.line, errTooLong}
	}
	if len(text) > 0 { // the last line need not have an end
		err = nil
	}
	text = bytes.TrimSuffix(text, []byte{'\n'})
	return bytes.TrimSuffix(text, []byte{'\r'}), err
}

// next returns the next row; blank lines are none. The error is [io.EOF] behind
// the last, and a [*lineError] for a line that is no row, behind which there may
// be more.
func (r *logReader) next() (*row, error) {
	for {
		offset := r.offset
		text, err := r.read()
		if err != nil {
			return nil, err
		}
		if len(text) == 0 {
			continue
		}
		w := &r.row
		w.offset, w.line, w.text, w.ends = offset, r.line, text, w.ends[:0]
		for i, c := range text {
			if c == ' ' {
				w.ends = append(w.ends, i)
			}
		}
		w.ends = append(w.ends, len(text))
		if n := len(w.ends); n < r.least || n > len(r.columns) {
			return nil, &lineError{r.line, fmt.Errorf("%d cells: want %d", n, len(r.columns))}
		}
		return w, nil
	}
}

// skip goes on at an offset, which is the begin of a line of that number.
func (r *logReader) skip(file io.ReadSeeker, offset, line int64) error {
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	r.in.Reset(file)
	r.offset, r.line = offset, line-1
	return nil
}

// cell returns what a column of the row says; none if there is no such column.
func (w *row) cell(column int) value {
	if column < 0 || column >= len(w.ends) {
		return value{}
	}
	begin := 0
	if column > 0 {
		begin = w.ends[column-1] + 1
	}
	return parse(w.text[begin:w.ends[column]])
}
