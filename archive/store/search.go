package store

import (
	"context"
	"fmt"
	"maps"
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

	// After goes on behind a metadata key, which takes no longer the more are
	// before it; empty: from the first one on.
	After string
	// Of what is found, in the order of keys, so many are left out at first, and
	// then at most so many are returned; with a limit below 0 all.
	Offset, Limit int
}

// Search returns a page of the measurements that are found, and how many there are
// in all. Who goes on behind a key has been told: then they are not counted again, and
// total is 0.
func (s *Store) Search(ctx context.Context, f *Filter) (page []*series.Metadata, total int, err error) {
	q := f.search()
	if q == nil {
		return nil, 0, nil
	}
	r := s.reader(ctx)
	offset := max(f.Offset, 0)
	limited, args := " LIMIT ? OFFSET ?", append(slices.Clip(q.args), f.Limit, offset)
	if f.Limit < 0 {
		args[len(q.args)] = int64(1) << 62 // SQLite has no OFFSET alone
	}
	if page, err = loadPage(r, "SELECT "+metadataColumns+q.from()+q.where()+" ORDER BY "+q.first+".key"+limited, args...); err != nil {
		return nil, 0, err
	}
	if f.After != "" {
		return page, 0, nil
	}
	if total = offset + len(page); len(page) > 0 && (f.Limit < 0 || len(page) < f.Limit) {
		return page, total, nil
	}
	err = r.query(func(r row) error { return r.Scan(&total) }, "SELECT count(*)"+q.counted()+q.where(), q.args...)
	return page, total, err
}

// A search is how a database is asked for metadata, m. What is found comes in the
// order of the index that it is found by, so that a page ends the search.
type search struct {
	first string // the table that is looked through: m, or
	table string // t, this one, of which the metadata have at most one row each
	all   []string
	args  []any
	on    bool // there are conditions of metadata
}

func (q *search) add(text string, args ...any) {
	q.all = append(q.all, text)
	q.args = append(q.args, args...)
}

// has asks for a row of another table.
func (q *search) has(table string, of conditions) {
	q.add("EXISTS (SELECT 1 FROM "+table+" t WHERE t.key = m.key AND "+strings.Join(of.all, " AND ")+")", of.args...)
	q.on = true
}

// through looks through a table by its conditions.
func (q *search) through(table string, of conditions) {
	q.first, q.table = "t", table
	q.add(strings.Join(of.all, " AND "), of.args...)
}

func (q *search) from() string {
	if q.first == "m" {
		return " FROM metadata m"
	}
	return " FROM " + q.table + " t JOIN metadata m ON m.key = t.key"
}

// counted is from where there is nothing to be found but a number.
func (q *search) counted() string {
	if q.first == "t" && !q.on {
		return " FROM " + q.table + " t"
	}
	return q.from()
}

func (q *search) where() string {
	if len(q.all) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(q.all, " AND ")
}

// conditions are those of one table.
type conditions struct {
	all  []string
	args []any
}

func (c *conditions) add(text string, args ...any) {
	c.all = append(c.all, text)
	c.args = append(c.args, args...)
}

// search returns how a database is asked; nil: nothing can be found.
func (f *Filter) search() *search {
	m, narrow, ok := f.metadata()
	if !ok {
		return nil
	}
	e, ok := f.events()
	if !ok {
		return nil
	}
	q := &search{first: "m", all: m.all, args: m.args, on: len(m.all) > 0}
	// Where few are left each of them is looked at. Otherwise what narrows most
	// goes first.
	if len(e.all) > 0 {
		if !narrow && f.Event != "" {
			q.through("events", e)
		} else {
			q.has("events", e)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Parameters)) {
		value := f.Parameters[name]
		if !storable(name) || !storable(value) {
			return nil
		}
		p := conditions{[]string{"t.name = ?", "t.value = ?"}, []any{name, searched(value)}}
		if !narrow && len(e.all) == 0 && q.first == "m" {
			q.through("parameters", p)
		} else {
			q.has("parameters", p)
		}
	}
	if f.After != "" {
		k, ok := parseKey(f.After)
		if !ok {
			return nil
		}
		q.add(q.first+".key > ?", k[:])
	}
	return q
}

// metadata returns the conditions of the metadata themselves, and whether they leave
// few; false: none can fulfil them.
func (f *Filter) metadata() (c conditions, narrow, ok bool) {
	if f.Key != "" {
		k, ok := parseKey(f.Key)
		if !ok {
			return c, false, false
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
			return c, false, false
		}
		var args []any
		for _, a := range of.any {
			args = append(args, addressText(a))
		}
		c.add("m."+of.column+" IN (?"+strings.Repeat(", ?", len(args)-1)+")", args...)
		narrow = true
	}
	var subject *string
	if f.SubjectType != "" {
		subject = &f.SubjectType
	}
	for _, of := range []struct {
		column string
		want   *string
		narrow bool
	}{
		{"subject_type", subject, false}, {"tool_name", f.ToolName, false},
		{"input_source", f.InputSource, true}, {"input_destination", f.InputDestination, true},
	} {
		if of.want == nil {
			continue
		}
		if !storable(*of.want) {
			return c, false, false
		}
		c.add("m."+of.column+" = ?", *of.want)
		narrow = narrow || of.narrow
	}
	return c, narrow, true
}

// events returns the conditions of a series; false: none can fulfil them.
func (f *Filter) events() (c conditions, ok bool) {
	if f.Event != "" {
		if !storable(string(f.Event)) {
			return c, false
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
			return c, false
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
