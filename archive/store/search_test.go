package store

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/archive/series"
)

// A search finds what all conditions hold for, page by page.
func testSearch(t *testing.T, address string) {
	s, c := openAt(t, address)
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[rnd.IntN(len(from))] }
	sources := []string{"192.0.2.1", "192.0.2.2", "2001:db8::1"}
	types := []string{"packet-count-sent", "packet-count-lost", "failures", "histogram-rtt"}
	var stored []*series.Metadata
	for i := range 60 {
		var events []string
		for _, e := range types {
			switch {
			case rnd.IntN(3) == 0:
			case e == "histogram-rtt":
				events = append(events, fmt.Sprintf(`{"event-type":%q,"summaries":[{"summary-type":%q,"summary-window":%s}]}`, e, pick("aggregation", "statistics"), pick("0", "300", "3600")))
			case e == "failures":
				events = append(events, fmt.Sprintf(`{"event-type":%q}`, e))
			default:
				events = append(events, fmt.Sprintf(`{"event-type":%q,"summaries":[{"summary-type":%q,"summary-window":%s}]}`, e, pick("aggregation", "average"), pick("300", "3000")))
			}
		}
		text := fmt.Sprintf(`{"subject-type":"point-to-point","source":%q,"destination":%q,"measurement-agent":%q,"tool-name":%q,"input-source":%q,"input-destination":"%d","mode-flip":%s,"x%d":%q,"event-types":[%s]}`,
			pick(sources...), pick(sources...), pick(sources...), pick("t", "T", "t%"), pick("a", "'; DROP TABLE points; --"), i%2, pick("true", "false"), i%2, pick("1", "_"), strings.Join(events, ","))
		if i%5 == 0 {
			text = fmt.Sprintf(`{"subject-type":"network-element","source":%q,"measurement-agent":%q,"tool-name":%q,"input-source":"a","event-types":[%s],"n":%d}`, pick(sources...), pick(sources...), pick("t", "T"), strings.Join(events, ","), i)
		}
		m, err := series.ParseMetadata([]byte(text))
		if err != nil {
			t.Fatal(text, err)
		}
		stored = append(stored, register(t, s, m))
	}
	slices.SortFunc(stored, func(a, b *series.Metadata) int { return strings.Compare(a.Key, b.Key) })
	stored = slices.CompactFunc(stored, func(a, b *series.Metadata) bool { return a.Key == b.Key })
	for i, m := range stored {
		for j := range m.Events {
			if (i+j)%3 > 0 {
				e := &m.Events[j]
				c.Store(int64(1000 + i*10 + j))
				if _, err := s.Write(t.Context(), m.Key, []series.Sample{sample(t, 5, e.Type, anything(e.Type, rnd))}); err != nil {
					t.Fatal(err)
				}
				e.Updated = c.Load()
			}
		}
	}

	found := 0
	for range 100 {
		f := &Filter{Limit: -1}
		some := func() bool { return rnd.IntN(6) == 0 }
		addresses := func() []netip.Addr {
			all := []netip.Addr{netip.MustParseAddr(pick(sources...)), netip.MustParseAddr("192.0.2.99")}
			return all[:rnd.IntN(3)]
		}
		text := func(from ...string) *string { return new(pick(from...)) }
		if some() {
			f.Key = pick(stored[0].Key, stored[7].Key, "x", strings.ToUpper(stored[7].Key), "")
		}
		if some() {
			f.SubjectType = pick("point-to-point", "network-element", "x")
		}
		if some() {
			f.Source = addresses()
		}
		if some() {
			f.Destination = addresses()
		}
		if some() {
			f.MeasurementAgent = addresses()
		}
		if some() {
			f.ToolName = text("t", "T", "t%", "%", "\x00", "\xff")
		}
		if some() {
			f.InputSource = text("a", "A", "'; DROP TABLE points; --", "' OR ''='")
		}
		if some() {
			f.InputDestination = text("0", "1", "")
		}
		if some() {
			f.Parameters = map[string]string{pick("mode-flip", "x0", "x1", "y"): pick("True", "False", "true", "1", "_", "\x00")}
		}
		if some() {
			f.Event = series.EventType(pick(append(types, "nothing", "packet-count-%", "\xff")...))
		}
		if some() {
			f.SummaryType = new([]series.SummaryType{series.Base, series.Aggregation, series.Average, series.Statistics}[rnd.IntN(4)])
		}
		if some() {
			f.Window = new([]int64{0, 300, 3600, 3000, 30, -1}[rnd.IntN(6)])
		}
		if some() {
			f.UpdatedFrom = new(1000 + rnd.Int64N(600))
		}
		if some() {
			f.UpdatedTo = new(1000 + rnd.Int64N(600))
		}
		var want []*series.Metadata
		for _, m := range stored {
			if matches(f, m) {
				want = append(want, m)
			}
		}
		found += len(want)
		got, total, err := s.Search(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		if total != len(want) {
			t.Errorf("%+v: %d in all, want %d", f, total, len(want))
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			t.Fatalf("%+v: %s", f, diff)
		}
		f.Offset, f.Limit = rnd.IntN(len(want)+2), rnd.IntN(len(want)+2)
		got, total, err = s.Search(t.Context(), f)
		if err != nil || total != len(want) && !(f.nothing()) {
			t.Fatalf("%+v: %d in all, want %d; %v", f, total, len(want), err)
		}
		page := want[min(f.Offset, len(want)):]
		page = page[:min(f.Limit, len(page))]
		if !slices.EqualFunc(got, page, func(a, b *series.Metadata) bool { return a.Key == b.Key }) {
			t.Errorf("%+v: %v, want %v", f, got, page)
		}
		f.After, f.Offset = stored[rnd.IntN(len(stored))].Key, rnd.IntN(3)
		behind := slices.DeleteFunc(slices.Clone(want), func(m *series.Metadata) bool { return m.Key <= f.After })
		page = behind[min(f.Offset, len(behind)):]
		page = page[:min(f.Limit, len(page))]
		got, _, err = s.Search(t.Context(), f)
		if err != nil || !slices.EqualFunc(got, page, func(a, b *series.Metadata) bool { return a.Key == b.Key }) {
			t.Errorf("%+v: %v, %v, want %v", f, got, err, page)
		}
	}
	if found < 100 {
		t.Errorf("%d measurements found: there is nothing to be seen", found)
	}
}

// nothing reports whether a filter can find nothing.
func (f *Filter) nothing() bool { return f.search() == nil }

// matches says what a search is to find.
func matches(f *Filter, m *series.Metadata) bool {
	for _, of := range []struct {
		any []netip.Addr
		is  netip.Addr
	}{{f.Source, m.Source}, {f.Destination, m.Destination}, {f.MeasurementAgent, m.MeasurementAgent}} {
		if of.any != nil && !slices.Contains(of.any, of.is) {
			return false
		}
	}
	for _, of := range []struct {
		want *string
		is   string
	}{{f.ToolName, m.ToolName}, {f.InputSource, m.InputSource}, {f.InputDestination, m.InputDestination}} {
		if of.want != nil && *of.want != of.is {
			return false
		}
	}
	for name, value := range f.Parameters {
		if is, ok := m.Parameters[name]; !ok || is != value {
			return false
		}
	}
	if f.Key != "" && f.Key != m.Key || f.SubjectType != "" && f.SubjectType != m.SubjectType {
		return false
	}
	if f.Event == "" && f.SummaryType == nil && f.Window == nil && f.UpdatedFrom == nil && f.UpdatedTo == nil {
		return true
	}
	return slices.ContainsFunc(m.Events, func(e series.Event) bool {
		if f.Event != "" && f.Event != e.Type ||
			f.UpdatedFrom != nil && (e.Updated == 0 || e.Updated < *f.UpdatedFrom) || f.UpdatedTo != nil && (e.Updated == 0 || e.Updated > *f.UpdatedTo) {
			return false
		}
		return slices.ContainsFunc(append(e.Summaries, series.Summary{}), func(s series.Summary) bool {
			return (f.SummaryType == nil || *f.SummaryType == s.Type) && (f.Window == nil || *f.Window == s.Window)
		})
	})
}
