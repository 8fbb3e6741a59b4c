package table

import (
	"strings"
	"time"
)

// A Row is what one stream's line says.
type Row struct {
	Time   time.Time // shown in its own zone
	Stream string    // may be empty; the column is there if any row has one

	Received, Lost        uint64
	Duplicates, Reordered uint64

	Min, Median, P95 time.Duration // one-way delay; not shown while Received is 0

	ClockError   time.Duration // how far the clock may be off; shown if Synchronized
	Synchronized bool
}

// A column shows one thing of each row.
type column struct {
	title string
	cell  func(*Row) string
	left  bool // flush left
	least int  // its width does not go below, so that it seldom jumps
}

func delay(of func(*Row) time.Duration) func(*Row) string {
	return func(r *Row) string {
		if r.Received == 0 {
			return none
		}
		return Duration(of(r))
	}
}

const (
	timeColumn = iota
	streamColumn
	receivedColumn
	minColumn
	medianColumn
	p95Column
	lostColumn
	duplicatesColumn
	reorderedColumn
	clockColumn
	columnCount
)

var columns = [columnCount]column{
	timeColumn:       {title: "time", left: true, cell: func(r *Row) string { return r.Time.Format(time.TimeOnly) }},
	streamColumn:     {title: "stream", left: true, cell: func(r *Row) string { return Plain(r.Stream) }},
	receivedColumn:   {title: "received", cell: func(r *Row) string { return Count(r.Received) }},
	minColumn:        {title: "delay min", cell: delay(func(r *Row) time.Duration { return r.Min })},
	medianColumn:     {title: "median", least: 7, cell: delay(func(r *Row) time.Duration { return r.Median })},
	p95Column:        {title: "p95", least: 7, cell: delay(func(r *Row) time.Duration { return r.P95 })},
	lostColumn:       {title: "lost", least: 7, cell: func(r *Row) string { return Percent(r.Lost, r.Received+r.Lost) }},
	duplicatesColumn: {title: "dup", cell: func(r *Row) string { return Count(r.Duplicates) }},
	reorderedColumn:  {title: "reord", cell: func(r *Row) string { return Count(r.Reordered) }},
	clockColumn: {title: "clock", least: 8, cell: func(r *Row) string {
		if !r.Synchronized {
			return "unsynced"
		}
		return "±" + Duration(r.ClockError)
	}},
}

// dispensable are the columns that a narrow terminal goes without, the first
// ones first.
var dispensable = [...]int{
	receivedColumn, timeColumn, reorderedColumn, duplicatesColumn, clockColumn, minColumn, p95Column,
}

const (
	gap       = "  "
	minStream = 12 // a stream's name is cut down to this before columns go
)

// A layout remembers how wide the columns have been, so that they only grow.
type layout [columnCount]int

// lines returns the header and a line for each row, none wider than limit
// columns; a limit of 0 is none.
func (l *layout) lines(rows []Row, limit int) (header string, body []string) {
	cells := make([][columnCount]string, len(rows))
	named := false
	for i := range rows {
		for c := range columns {
			cells[i][c] = columns[c].cell(&rows[i])
		}
		named = named || cells[i][streamColumn] != ""
	}
	var shown layout // 0 where the column is not shown
	for c, col := range columns {
		if c == streamColumn && !named {
			continue
		}
		l[c] = max(l[c], col.least, width(col.title))
		for i := range cells {
			l[c] = max(l[c], width(cells[i][c]))
		}
		shown[c] = l[c]
	}
	if limit > 0 {
		shown.fit(limit)
	}

	var titles [columnCount]string
	for c := range columns {
		titles[c] = columns[c].title
	}
	for i := range cells {
		body = append(body, shown.line(&cells[i], limit))
	}
	return shown.line(&titles, limit), body
}

// width is that of a whole line.
func (l *layout) width() (n int) {
	for _, w := range l {
		if w > 0 {
			n += w + len(gap)
		}
	}
	return n - len(gap)
}

// fit makes the line at most limit wide if it can: names are cut first, then
// columns are left out.
func (l *layout) fit(limit int) {
	shrink := func() {
		if over := l.width() - limit; over > 0 && l[streamColumn] > minStream {
			l[streamColumn] = max(minStream, l[streamColumn]-over)
		}
	}
	full := l[streamColumn]
	shrink()
	for _, c := range dispensable {
		if l.width() <= limit {
			break
		}
		l[c] = 0
		l[streamColumn] = full
		shrink()
	}
}

// line writes the cells of the columns that have a width.
func (l *layout) line(cells *[columnCount]string, limit int) string {
	var b strings.Builder
	first := true
	for c, w := range l {
		if w == 0 {
			continue
		}
		if !first {
			b.WriteString(gap)
		}
		first = false
		text := cut(cells[c], w)
		fill := strings.Repeat(" ", w-width(text))
		if columns[c].left {
			b.WriteString(text + fill)
		} else {
			b.WriteString(fill + text)
		}
	}
	s := strings.TrimRight(b.String(), " ")
	if limit > 0 {
		s = cut(s, limit)
	}
	return s
}
