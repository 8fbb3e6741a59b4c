package store

import (
	"context"
	"iter"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/archive/series"
)

// A neighbour is an archive that is copied from as if it were far away; it knows
// of folds how many values they have.
type neighbour struct{ *Store }

func (n neighbour) Measurements(ctx context.Context) iter.Seq2[*series.Metadata, error] {
	return func(yield func(*series.Metadata, error) bool) {
		page, _, err := n.Search(ctx, &Filter{Limit: 1000})
		for _, m := range page {
			if !yield(m, nil) {
				return
			}
		}
		if err != nil {
			yield(nil, err)
		}
	}
}

func (n neighbour) Values(ctx context.Context, m *series.Metadata, event series.EventType) iter.Seq2[series.Point, error] {
	return func(yield func(series.Point, error) bool) {
		for r, err := range n.Read(ctx, Query{Key: m.Key, Event: event, From: -series.MaxTime, To: series.MaxTime, Limit: -1}) {
			if !yield(series.Point{Time: r.Time, Value: r.Value}, err) {
				return
			}
		}
	}
}

func (n neighbour) Folds(ctx context.Context, m *series.Metadata, event series.EventType, window, before int64, _ func(int64) (int64, error)) iter.Seq2[FoldAt, error] {
	return func(yield func(FoldAt, error) bool) {
		for _, s := range m.Event(event).Summaries {
			if s.Window != window {
				continue
			}
			for r, err := range n.Read(ctx, Query{Key: m.Key, Event: event, Summary: s, From: -series.MaxTime, To: before - 1, Limit: -1}) {
				if !yield(FoldAt{r.Time, r.Fold}, err) {
					return
				}
			}
			return
		}
	}
}

func testCopy(t *testing.T, address string) {
	from, fromClock := filled(t, filepath.Join(t.TempDir(), "from.db"))
	s, _ := openAt(t, address)
	want := everything(t, from)
	progress := 0
	done, err := s.Copy(t.Context(), neighbour{from}, func(*series.Metadata, Transferred) { progress++ })
	if err != nil || done.Measurements != 4 || done.Values != 60*4+40 || done.Summaries == 0 || progress != 4 {
		t.Fatalf("%+v, %v, %d measurements told of", done, err, progress)
	}
	if diff := cmp.Diff(want, everything(t, s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if done, err := s.Copy(t.Context(), neighbour{from}, nil); err != nil || done != (Transferred{Measurements: 4}) {
		t.Errorf("again: %+v, %v", done, err)
	}
	// Something new comes there. What is here stays as it is.
	page, _, err := from.Search(t.Context(), &Filter{SubjectType: series.PointToPoint, Event: "packet-count-sent", Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	fromClock.Add(7)
	for _, m := range page {
		for into, n := range map[*Store]string{from: "500", s: "501"} {
			if _, err := into.Write(t.Context(), m.Key, []series.Sample{sample(t, 1_699_990_000, "packet-count-sent", n), sample(t, 1_699_990_001, "packet-duplicates", "3")}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := from.Write(t.Context(), m.Key, []series.Sample{sample(t, 1_699_990_060, "packet-count-sent", "502")}); err != nil {
			t.Fatal(err)
		}
	}
	// A day of one of them has lost values: its sum is that of the other archive,
	// in which there is one more.
	if done, err := s.Copy(t.Context(), neighbour{from}, nil); err != nil || done.Values != int64(len(page)) || done.Summaries != 1 {
		t.Errorf("later: %+v, %v, want %d values and one summary", done, err, len(page))
	}
	got := readings(t, s, Query{Key: page[0].Key, Event: "packet-count-sent", Summary: series.Summary{Type: series.Aggregation, Window: 300}, From: 1_699_989_000, To: 1_700_000_000, Limit: -1})
	if want := "1699989900 1003.0\n"; got != want {
		t.Errorf("the sum is %q, want %q", got, want)
	}
}
