package table

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("(-%s +got):\n%s", path, d)
	}
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func row(after time.Duration, received uint64) Row {
	return Row{
		Time: noon.Add(after), Received: received,
		Min: 612, Median: 841, P95: 1320,
		ClockError: 12_345, Synchronized: true,
	}
}

func bad(after time.Duration, name string) Row {
	return Row{
		Time: noon.Add(after), Stream: name, Received: 123_456, Lost: 789, Duplicates: 3, Reordered: 4567,
		Min: -40 * time.Microsecond, Median: 11_900 * time.Microsecond, P95: 2 * time.Second,
	}
}

func TestLines(t *testing.T) {
	var b bytes.Buffer
	tab := New(&b)
	if tab.Live() {
		t.Error("a buffer is taken for a terminal")
	}
	show := func(rows ...Row) {
		if err := tab.Update(rows); err != nil {
			t.Fatal(err)
		}
	}
	show(Row{Time: noon})
	for i := range 6 { // five of a second are one line
		show(row(time.Second+time.Duration(i)*200*time.Millisecond, uint64(1000+i)))
	}
	show()
	show(bad(3*time.Second, ""))
	for i := range headerEvery {
		show(row(time.Duration(4+i)*time.Second, 2000))
	}
	fmt.Fprintln(tab, "a line of a logger")
	golden(t, "lines.txt", b.String())
}

// A screen does what a terminal does with the few sequences that a Table uses,
// and fails for others.
type screen struct {
	t             *testing.T
	columns, rows int
	lines         [][]rune
	line, column  int
}

func newScreen(t *testing.T, columns, rows int) *screen {
	return &screen{t: t, columns: columns, rows: rows, lines: make([][]rune, 1)}
}

func (s *screen) size() (columns, rows int) { return s.columns, s.rows }

func (s *screen) Write(p []byte) (int, error) {
	for text := string(p); text != ""; {
		var n int
		switch {
		case strings.HasPrefix(text, dim):
			text = text[len(dim):]
		case strings.HasPrefix(text, normal):
			text = text[len(normal):]
		case strings.HasPrefix(text, eraseLine):
			text = text[len(eraseLine):]
			s.lines[s.line] = s.lines[s.line][:min(s.column, len(s.lines[s.line]))]
		case strings.HasPrefix(text, eraseDown):
			text = text[len(eraseDown):]
			s.lines[s.line] = s.lines[s.line][:min(s.column, len(s.lines[s.line]))]
			s.lines = s.lines[:s.line+1]
		case scan(&text, cursorUp, &n):
			if s.line -= n; s.line < 0 || len(s.lines)-s.line > s.rows {
				s.t.Fatalf("cursor up %d leaves the screen", n)
			}
		default:
			r := []rune(text)[0]
			text = text[len(string(r)):]
			s.put(r)
		}
	}
	return len(p), nil
}

func (s *screen) put(r rune) {
	switch {
	case r == '\n':
		s.line, s.column = s.line+1, 0
		if s.line == len(s.lines) {
			s.lines = append(s.lines, nil)
		}
		return
	case r == '\r':
		s.column = 0
		return
	case r < ' ':
		s.t.Fatalf("unexpected %q", r)
	}
	l := s.lines[s.line]
	if s.column < len(l) {
		l[s.column] = r
	} else {
		l = append(l, r)
	}
	s.lines[s.line] = l
	if s.column++; s.column >= s.columns {
		s.t.Fatalf("line %q fills %d columns", string(l), s.columns)
	}
}

// scan takes a sequence with a number off the beginning of text.
func scan(text *string, format string, n *int) bool {
	if _, err := fmt.Sscanf(*text, format, n); err != nil {
		return false
	}
	*text = (*text)[len(fmt.Sprintf(format, *n)):]
	return true
}

func (s *screen) String() string {
	var b strings.Builder
	for _, l := range s.lines {
		b.WriteString(string(l) + "\n")
	}
	return b.String()
}

// Frame after frame the table stays where it is, whatever becomes longer or
// shorter in it.
func TestRedraw(t *testing.T) {
	s := newScreen(t, 100, 24)
	tab := &Table{w: s, size: s.size}
	fmt.Fprintln(tab, "above the table")
	for _, rows := range [][]Row{
		{{Time: noon, Stream: "lon → ams"}, bad(0, "a name that is longer")},
		{row(time.Second, 10), bad(0, "x"), bad(0, "y")},
		{bad(2*time.Second, "lon → ams")},
		{row(3*time.Second, 30), bad(3*time.Second, "\x1b[2Jams → lon")},
	} {
		if err := tab.Update(rows); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Fprintln(tab, "said while the table was there")
	golden(t, "redraw.txt", s.String())
}

func TestWidths(t *testing.T) {
	var b strings.Builder
	for _, columns := range []int{130, 100, 80, 60, 40, 20, 5, 1} {
		s := newScreen(t, max(columns, 2), 24)
		tab := &Table{w: s, size: func() (int, int) { return columns, 24 }}
		if err := tab.Update([]Row{row(0, 1234), bad(0, "sonar-1.lon.example.net → ams.example.net")}); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%d columns:\n%s", columns, s)
	}
	golden(t, "widths.txt", b.String())
}

func TestMoreRowsThanLines(t *testing.T) {
	s := newScreen(t, 80, 6)
	tab := &Table{w: s, size: s.size}
	for i := range 3 {
		rows := make([]Row, 10)
		for j := range rows {
			rows[j] = row(time.Duration(i)*time.Second, uint64(j))
		}
		if err := tab.Update(rows); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.lines); n != 6 {
		t.Errorf("%d lines on a screen of 6:\n%s", n, s)
	}
	if got, want := string(s.lines[4]), "… and 7 more"; got != want {
		t.Errorf("last line %q, want %q", got, want)
	}
}

// After the terminal's width has changed nobody knows where the old lines are,
// so none of them is overwritten.
func TestResize(t *testing.T) {
	s := newScreen(t, 100, 24)
	tab := &Table{w: s, size: s.size}
	tab.Update([]Row{row(0, 1)})
	s.columns = 90
	tab.Update([]Row{row(time.Second, 2)})
	tab.Update([]Row{row(2*time.Second, 3)})
	got := s.String()
	if !strings.Contains(got, "12:00:00") || strings.Contains(got, "12:00:01") || !strings.Contains(got, "12:00:02") {
		t.Errorf("want the frame before the resize and the last one, got\n%s", got)
	}
}

type broken struct{}

var errBroken = errors.New("broken")

func (broken) Write([]byte) (int, error) { return 0, errBroken }

func TestWriterFails(t *testing.T) {
	if err := New(broken{}).Update([]Row{row(0, 1)}); !errors.Is(err, errBroken) {
		t.Errorf("listing: %v, want the writer's error", err)
	}
	s := newScreen(t, 80, 24)
	if err := (&Table{w: broken{}, size: s.size}).Update([]Row{row(0, 1)}); !errors.Is(err, errBroken) {
		t.Errorf("drawing: %v, want the writer's error", err)
	}
}
