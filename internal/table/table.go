// Package table shows measurements while they run: on a terminal a table that
// is redrawn in its place, elsewhere a line a second.
package table

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// headerEvery is after how many lines a listing says again what its columns
// are.
const headerEvery = 30

// A Table writes the rows it is given, each time anew. It may be used by many
// goroutines at once.
type Table struct {
	size func() (columns, rows int) // nil where w is not a terminal

	mu     sync.Mutex
	w      io.Writer
	layout layout

	// on a terminal
	rows    []Row
	drawn   int // lines of the table that stand above the cursor
	columns int // of the terminal when they were drawn

	// elsewhere
	lines  int   // written since the header
	second int64 // of the last line
}

// New returns a Table on w, redrawn in its place if w is a terminal.
func New(w io.Writer) *Table { return &Table{w: w, size: terminalSize(w)} }

// NewLines returns a Table that writes line by line even on a terminal, as one
// that cannot move its cursor needs.
func NewLines(w io.Writer) *Table { return &Table{w: w} }

// Live reports whether the table is redrawn in its place, so that it is worth
// updating it more often than once a second.
func (t *Table) Live() bool { return t.size != nil }

// Update shows rows, one line each. On a terminal they replace those of the
// last Update; more than its height holds are counted instead of shown.
// Elsewhere only the first Update in each second of the rows' Time writes.
// The error is that of the writer.
func (t *Table) Update(rows []Row) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.size == nil {
		return t.list(rows)
	}
	t.rows = append(t.rows[:0], rows...)
	return t.draw(nil)
}

// Write puts text, which should be whole lines, above the table, so that a
// logger can share the terminal with it.
func (t *Table) Write(text []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.size == nil || t.drawn == 0 {
		return t.w.Write(text)
	}
	if err := t.draw(text); err != nil {
		return 0, err
	}
	return len(text), nil
}

func (t *Table) list(rows []Row) error {
	if len(rows) == 0 || t.lines > 0 && rows[0].Time.Unix() == t.second {
		return nil
	}
	header, body := t.layout.lines(rows, 0)
	var b strings.Builder
	if t.lines == 0 || t.lines >= headerEvery {
		fmt.Fprintln(&b, header)
		t.lines = 0
	}
	for _, line := range body {
		fmt.Fprintln(&b, line)
	}
	t.lines += len(body)
	t.second = rows[0].Time.Unix()
	_, err := io.WriteString(t.w, b.String())
	return err
}

// The control sequences of ECMA-48 that are needed.
const (
	cursorUp  = "\x1b[%dA"
	eraseLine = "\x1b[K" // to its end
	eraseDown = "\x1b[J" // from the cursor on
	dim       = "\x1b[2m"
	normal    = "\x1b[m"
)

// draw writes above and then the table, over the one that stands there. It is
// one write, so that nothing flickers.
func (t *Table) draw(above []byte) error {
	columns, height := t.size()
	var b strings.Builder
	// A terminal whose width has changed may have wrapped the old lines in its
	// own way; they stay, and the table goes on below.
	if t.drawn > 0 && columns == t.columns {
		fmt.Fprintf(&b, "\r"+cursorUp, t.drawn)
	}
	if len(above) > 0 {
		b.WriteString(eraseDown)
		b.Write(above)
	}
	// The last column stays free, for some terminals wrap as soon as it is
	// used; so does the line of the cursor.
	header, body := t.layout.lines(t.rows, max(columns-1, 1))
	if room := max(height-2, 1); len(body) > room {
		hidden := len(body) - (room - 1)
		body = append(body[:room-1], cut(fmt.Sprintf("… and %d more", hidden), columns-1))
	}
	fmt.Fprint(&b, dim, header, normal, eraseLine, "\n")
	for _, line := range body {
		fmt.Fprint(&b, line, eraseLine, "\n")
	}
	b.WriteString(eraseDown)
	t.drawn, t.columns = len(body)+1, columns
	_, err := io.WriteString(t.w, b.String())
	return err
}
