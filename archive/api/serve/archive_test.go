package serve

import (
	"math"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"owl/archive/store"
)

// TestNew: what an archive is served by: its REST interface, its page, and metrics,
// which are there from the start and say what they can when the store is gone.
func TestNew(t *testing.T) {
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "archive.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	rules, err := store.ParseRetention("*=1d")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(st, Options{Registry: reg, Retention: func() []store.Rule { return rules }})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/esmond/perfsonar/archive/": "[]", "/": "<!doctype html>", "/openapi.json": `"openapi"`, "/readyz": "ok\n",
	} {
		w := ask(s, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %.200s, want %s", path, w.Code, w.Body, want)
		}
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	values := func() map[string]float64 {
		t.Helper()
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		all := make(map[string]float64)
		for _, f := range families {
			for _, m := range f.Metric {
				all[strings.TrimPrefix(f.GetName(), "owl_store_")] += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
		return all
	}
	all := values()
	if all["size_bytes"] <= 0 || all["free_bytes"] <= 0 || all["full_timestamp_seconds"] != math.Inf(1) || all["failing"] != 0 || all["connections_limit"] != 1000 {
		t.Errorf("%v", all)
	}
	if _, err := New(st, Options{Registry: reg}); err == nil {
		t.Error("the metrics of two archives are registered in one place")
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	all = values()
	if _, known := all["size_bytes"]; known {
		t.Errorf("of a store that is closed the size is known: %v", all)
	}
	if _, known := all["writes_total"]; !known {
		t.Errorf("of a store that is closed it is not known what was written: %v", all)
	}
}

// TestForecastThatFails: a forecast that cannot be made is not tried again with each
// scrape, for it may have taken as long as a scrape may.
func TestForecastThatFails(t *testing.T) {
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "archive.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	tries := 0
	c := newCollector(st, func() []store.Rule { tries++; return nil })
	for range 3 {
		if f, ok := c.outlook(t.Context()); ok {
			t.Errorf("of a store that is closed there is %+v", f)
		}
	}
	if tries != 1 {
		t.Errorf("it was tried %d times, want once", tries)
	}
}
