package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"owl/archive/series"
)

// A day of histograms of 60 s with 200 bins each, and what is written of a minute:
// what the interface adds to the store.
func BenchmarkReadDay(b *testing.B) {
	a := newArchive(b, 90_000)
	uri := a.register(b, registration)
	var bins []string
	for i := range 200 {
		bins = append(bins, fmt.Sprintf(`"%d.%02d":%d`, 34+i/100, i%100, 1+i%7))
	}
	histogram := "{" + strings.Join(bins, ",") + "}"
	for hour := range 24 {
		var items []string
		for minute := range 60 {
			items = append(items, fmt.Sprintf(`{"ts":%d,"val":[{"event-type":"histogram-owdelay","val":%s}]}`, hour*3600+minute*60, histogram))
		}
		if r := a.do(b, http.MethodPut, uri, `{"data":[`+strings.Join(items, ",")+`]}`, a.token()...); r.StatusCode != http.StatusCreated {
			b.Fatalf("%d %s", r.StatusCode, r.body)
		}
	}
	for path, name := range map[string]string{"histogram-owdelay/base": "base", "histogram-owdelay/statistics/0": "statistics"} {
		b.Run(name, func(b *testing.B) {
			r := httptest.NewRequest(http.MethodGet, uri+path, nil)
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				a.handler.ServeHTTP(w, r)
				b.SetBytes(int64(w.Body.Len()))
			}
		})
	}
}

func BenchmarkParseBulk(b *testing.B) {
	const body = `{"data":[{"ts":1777636800,"val":[{"event-type":"histogram-owdelay","val":{"34.30":440,"34.40":123,"34.50":30,"34.60":7}},{"event-type":"histogram-ttl","val":{"59":600}},
		{"event-type":"packet-count-sent","val":600},{"event-type":"packet-count-lost","val":0},{"event-type":"packet-reorders","val":0},{"event-type":"packet-duplicates","val":0},
		{"event-type":"time-error-estimates","val":0.12},{"event-type":"packet-loss-rate","val":{"numerator":0,"denominator":600}}]}]}`
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		all := &batch{request: &request{}}
		if err := series.ParseBulk([]byte(body), all.add); err != nil || len(all.samples) != 8 {
			b.Fatal(err)
		}
	}
}
