package store

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"owl/archive/series"
)

// A Filter says which measurements are looked for: those for which all of its
// conditions hold. The zero value has none.
type Filter struct {
	Key, SubjectType string // empty: any
	// Any of these addresses; nil: any at all.
	Source, Destination, MeasurementAgent []netip.Addr
	// Exactly these texts; nil: any.
	ToolName, InputSource, InputDestination *string
	// Parameters are those that must be there, with exactly these values.
	Parameters map[string]string

	// One and the same series must fulfil all of these conditions: values of an
	// event type have the summary type [series.Base], and a window of 0.
	Event                  series.EventType // empty: any
	SummaryType            *series.SummaryType
	Window                 *int64 // s
	UpdatedFrom, UpdatedTo *int64 // when it was last written, s since 1970, both included

	// Of what is found, in the order of keys, so many are left out at first, and
	// then at most so many are returned; with a limit below 0 all.
	Offset, Limit int
}

// Search returns a page of the measurements that are found, and how many there are
// in all.
func (s *Store) Search(ctx context.Context, f *Filter) (page []*series.Metadata, total int, err error) {
	q := f.conditions()
	if q == nil {
		return nil, 0, nil
	}
	r := s.reader(ctx)
	from := " FROM metadata m" + q.where()
	limited := ""
	args := q.args
	if f.Limit >= 0 {
		limited = " LIMIT ? OFFSET ?"
		args = append(slices.Clip(args), f.Limit, max(f.Offset, 0))
	} else if f.Offset > 0 {
		limited = fmt.Sprintf(" LIMIT %d OFFSET ?", int64(1)<<62) // SQLite has no OFFSET alone
		args = append(slices.Clip(args), f.Offset)
	}
	if page, err = loadPage(r, "SELECT "+metadataColumns+from+" ORDER BY m.key"+limited, args...); err != nil {
		return nil, 0, err
	}
	if total = max(f.Offset, 0) + len(page); len(page) > 0 && (f.Limit < 0 || len(page) < f.Limit) {
		return page, total, nil
	}
	err = r.query(func(r row) error { return r.Scan(&total) }, "SELECT count(*)"+from, q.args...)
	return page, total, err
}

// conditions are those of a statement.
type conditions struct {
	all  []string
	args []any
}

func (c *conditions) add(text string, args ...any) {
	c.all = append(c.all, text)
	c.args = append(c.args, args...)
}

func (c *conditions) where() string {
	if len(c.all) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(c.all, " AND ")
}

// conditions returns what a filter asks for; nil: nothing can be found.
func (f *Filter) conditions() *conditions {
	c := new(conditions)
	narrow := false // few are left already
	if f.Key != "" {
		k, ok := parseKey(f.Key)
		if !ok {
			return nil
		}
		c.add("m.key = ?", k[:])
		narrow = true
	}
	for _, of := range []struct {
		column string
		any    []netip.Addr
	}{
		{"source", f.Source}, {"destination", f.Destination}, {"measurement_agent", f.MeasurementAgent},
	} {
		if of.any == nil {
			continue
		}
		if len(of.any) == 0 {
			return nil
		}
		var args []any
		for _, a := range of.any {
			args = append(args, addressText(a))
		}
		c.add("m."+of.column+" IN (?"+strings.Repeat(", ?", len(args)-1)+")", args...)
		narrow = true
	}
	texts := []struct {
		column string
		want   *string
		narrow bool
	}{
		{"tool_name", f.ToolName, false}, {"input_source", f.InputSource, true}, {"input_destination", f.InputDestination, true},
	}
	if f.SubjectType != "" {
		texts = append(texts, struct {
			column string
			want   *string
			narrow bool
		}{"subject_type", &f.SubjectType, false})
	}
	for _, of := range texts {
		if of.want == nil {
			continue
		}
		if !storable(*of.want) {
			return nil
		}
		c.add("m."+of.column+" = ?", *of.want)
		narrow = narrow || of.narrow
	}
	for name, value := range f.Parameters {
		if !storable(name) || !storable(value) {
			return nil
		}
		c.within("parameters", narrow, &conditions{[]string{"t.name = ?", "t.value = ?"}, []any{name, searched(value)}})
	}
	e, ok := f.events()
	if !ok {
		return nil
	}
	if len(e.all) > 0 {
		c.within("events", narrow, e)
	}
	return c
}

// within asks for a row of another table of the key. If few keys are left that is
// looked at for each of them; else all such rows are looked for at first.
func (c *conditions) within(table string, narrow bool, of *conditions) {
	if narrow {
		c.add("EXISTS (SELECT 1 FROM "+table+" t WHERE t.key = m.key AND "+strings.Join(of.all, " AND ")+")", of.args...)
		return
	}
	c.add("m.key IN (SELECT t.key FROM "+table+" t WHERE "+strings.Join(of.all, " AND ")+")", of.args...)
}

// events returns the conditions of a series; false: none can fulfil them.
func (f *Filter) events() (*conditions, bool) {
	c := new(conditions)
	if f.Event != "" {
		if !storable(string(f.Event)) {
			return nil, false
		}
		c.add("t.event = ?", string(f.Event))
	}
	var like string
	switch {
	case f.SummaryType == nil && (f.Window == nil || *f.Window == 0):
	case f.SummaryType == nil:
		like = fmt.Sprintf("%%:%d,%%", *f.Window)
	case *f.SummaryType == series.Base:
		if f.Window != nil && *f.Window != 0 {
			return nil, false
		}
	case f.Window == nil:
		like = fmt.Sprintf("%%,%s:%%", *f.SummaryType)
	default:
		like = fmt.Sprintf("%%,%s:%d,%%", *f.SummaryType, *f.Window)
	}
	if like != "" {
		c.add("t.summaries LIKE ?", like)
	} else if f.SummaryType != nil || f.Window != nil {
		c.add("t.id > 0") // there is a series
	}
	if f.UpdatedFrom != nil {
		c.add("t.updated >= ?", *f.UpdatedFrom)
	}
	if f.UpdatedTo != nil {
		c.add("t.updated <= ?", *f.UpdatedTo)
	}
	if f.UpdatedFrom != nil || f.UpdatedTo != nil {
		c.add("t.updated > 0")
	}
	return c, true
}
