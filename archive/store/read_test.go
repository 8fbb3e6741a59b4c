package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"owl/archive/series"
)

// What is read is what was asked for, however many parts it is read in.
func testRead(t *testing.T, address string) {
	s, _ := openAt(t, address)
	m := register(t, s, powstream(t, "192.0.2.1", "192.0.2.2"))
	const n = 2*readingsAtOnce + 7
	var body []series.Sample
	for i := range int64(n) {
		body = append(body, sample(t, i*60-600, "packet-count-sent", fmt.Sprint(i)), sample(t, i*60-600, "packet-reorders", "1"))
	}
	if _, err := s.Write(t.Context(), m.Key, body); err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		q := all(m, "packet-count-sent", series.Base, 0)
		q.From, q.To = rnd.Int64N(n*60)-900, rnd.Int64N(n*60)
		if rnd.IntN(2) == 0 {
			q.From, q.To = -series.MaxTime, series.MaxTime
		}
		q.Offset = max(rnd.IntN(n+10)-n/2, -1)
		q.Limit = rnd.IntN(n+10) - 1
		if rnd.IntN(4) == 0 {
			q.Summary = series.Summary{Type: series.Aggregation, Window: 300}
		}
		sums := make(map[int64]int64)
		for i := range int64(n) {
			sums[series.WindowStart(i*60-600, q.Summary.Window)] += i
		}
		var want []int64
		for at := range sums {
			if q.From <= at && at <= q.To {
				want = append(want, at)
			}
		}
		slices.Sort(want)
		want = want[min(max(q.Offset, 0), len(want)):]
		if q.Limit >= 0 {
			want = want[:min(q.Limit, len(want))]
		}
		i := 0
		for r, err := range s.Read(t.Context(), q) {
			if err != nil {
				t.Fatal(err)
			}
			if i >= len(want) || r.Time != want[i] || string(r.AppendJSON(nil)) != fmt.Sprintf("%d.0", sums[r.Time]) {
				t.Fatalf("%+v: reading %d: %d %s", q, i, r.Time, r.AppendJSON(nil))
			}
			i++
		}
		if i != len(want) {
			t.Errorf("%+v: %d readings, want %d", q, i, len(want))
		}
	}

	// One who is slow, and one who goes, keep nobody.
	for range 2 * pgReaders { // more than may read at once
		for range s.Read(t.Context(), all(m, "packet-count-sent", series.Base, 0)) {
			if _, err := s.Write(t.Context(), m.Key, []series.Sample{sample(t, rnd.Int64(), "failures", `{}`)}); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var last error
	for _, err := range s.Read(ctx, all(m, "packet-count-sent", series.Base, 0)) {
		cancel()
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("a reader who has gone: error %v, want %v", last, context.Canceled)
	}

	// What is big is read in small parts.
	text := `"` + strings.Repeat("x", octetsAtOnce/3) + `"`
	for i := range int64(10) {
		if _, err := s.Write(t.Context(), m.Key, []series.Sample{sample(t, i, "pscheduler-run-href", text)}); err != nil {
			t.Fatal(err)
		}
	}
	got := 0
	for r, err := range s.Read(t.Context(), all(m, "pscheduler-run-href", series.Base, 0)) {
		if err != nil || string(r.AppendJSON(nil)) != text {
			t.Fatalf("at %d: %.20q, %v", r.Time, r.AppendJSON(nil), err)
		}
		got++
	}
	if got != 10 {
		t.Errorf("%d readings, want 10", got)
	}
}
