package store

import (
	"testing"

	"owl/archive/series"
)

func testWrite(t *testing.T, address string) {
	s, _ := openAt(t, address)
	m := register(t, s, powstream(t, "192.0.2.1", "2001:db8::1"))
	o, err := s.Write(t.Context(), m.Key, []series.Sample{
		sample(t, 1000, "histogram-owdelay", `{"34.30":440,"34.4":160}`),
		sample(t, 1000, "packet-count-sent", `600`),
	})
	if o != Written || err != nil {
		t.Fatal(o, err)
	}
	if o, err := s.Write(t.Context(), m.Key, []series.Sample{
		sample(t, 1060, "histogram-owdelay", `{"34.30":1}`),
		sample(t, 1060, "packet-count-sent", `60`),
	}); o != Written || err != nil {
		t.Fatal(o, err)
	}
	t.Log(readings(t, s, Query{Key: m.Key, Event: "packet-count-sent", To: 10000, Limit: -1}))
	t.Log(readings(t, s, Query{Key: m.Key, Event: "histogram-owdelay", Summary: series.Summary{Type: series.Aggregation, Window: 300}, To: 10000, Limit: -1}))
	t.Log(readings(t, s, Query{Key: m.Key, Event: "histogram-owdelay", Summary: series.Summary{Type: series.Statistics, Window: 3600}, To: 10000, Limit: -1}))
	for k, err := range s.Latest(t.Context(), "histogram-owdelay", series.Summary{Type: series.Statistics, Window: 3600}, 0, 10000) {
		t.Log(k.Key, k.Time, string(k.AppendJSON(nil)), err)
	}
	for k, err := range s.Latest(t.Context(), "packet-count-sent", series.Summary{}, 0, 10000) {
		t.Log(k.Key, k.Time, string(k.AppendJSON(nil)), err)
	}
	page, n, err := s.Search(t.Context(), &Filter{Event: "histogram-owdelay", Limit: 100})
	t.Log(page, n, err)
}
