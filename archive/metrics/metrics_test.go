package metrics_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"

	"owl/archive/metrics"
	"owl/archive/queue"
	"owl/internal/testprog"
)

// What happens in a queue is what is scraped.
func TestScrape(t *testing.T) {
	var clock atomic.Int64
	clock.Store(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	now := func() time.Time { return time.Unix(0, clock.Load()) }
	q, err := queue.Open(queue.Config{Path: filepath.Join(t.TempDir(), "queue.db"), Now: now, MaxSize: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	lines, err := q.Use(t.Context(), queue.Target{Key: "1", Name: "here"}, queue.Target{Key: "2", Name: "there"})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"1", "2", "3", "4", "5"} {
		if err := q.Put(t.Context(), &queue.Result{ID: id, Body: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
	}
	clock.Add(int64(2 * time.Second))
	for i := range 5 {
		e, err := lines[0].TryNext()
		if err != nil {
			t.Fatal(err)
		}
		switch i {
		case 0:
			e.Again(now().Add(time.Hour), "no")
		case 1:
			e.Bury("dead")
		case 2:
			e.Discarded()
		case 3:
			e.Expired()
		default:
			e.Delivered()
		}
	}
	if n, err := q.Drop(t.Context(), queue.Selection{Destination: "there", IDs: []string{"5"}}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	reg := prometheus.NewPedanticRegistry()
	if err := metrics.Register(reg, q.Stats, now); err != nil {
		t.Fatal(err)
	}
	const want = `
# HELP owl_archive_delivery_seconds Time from the coming of a result until it was delivered, in seconds.
# TYPE owl_archive_delivery_seconds histogram
owl_archive_delivery_seconds_bucket{destination="here",le="0.001"} 0
owl_archive_delivery_seconds_bucket{destination="here",le="0.005"} 0
owl_archive_delivery_seconds_bucket{destination="here",le="0.01"} 0
owl_archive_delivery_seconds_bucket{destination="here",le="0.05"} 0
owl_archive_delivery_seconds_bucket{destination="here",le="0.1"} 0
owl_archive_delivery_seconds_bucket{destination="here",le="0.5"} 0
owl_archive_delivery_seconds_bucket{destination="here",le="1"} 0
owl_archive_delivery_seconds_bucket{destination="here",le="5"} 1
owl_archive_delivery_seconds_bucket{destination="here",le="10"} 1
owl_archive_delivery_seconds_bucket{destination="here",le="30"} 1
owl_archive_delivery_seconds_bucket{destination="here",le="60"} 1
owl_archive_delivery_seconds_bucket{destination="here",le="300"} 1
owl_archive_delivery_seconds_bucket{destination="here",le="900"} 1
owl_archive_delivery_seconds_bucket{destination="here",le="3600"} 1
owl_archive_delivery_seconds_bucket{destination="here",le="21600"} 1
owl_archive_delivery_seconds_bucket{destination="here",le="86400"} 1
owl_archive_delivery_seconds_bucket{destination="here",le="+Inf"} 1
owl_archive_delivery_seconds_sum{destination="here"} 2
owl_archive_delivery_seconds_count{destination="here"} 1
`
	gathered, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range gathered { // only one of the two histograms is worth its lines
		if f.GetName() == "owl_archive_delivery_seconds" {
			gathered[i].Metric = f.Metric[:1]
		}
	}
	gatherer := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) { return gathered, nil })
	if err := testutil.GatherAndCompare(gatherer, strings.NewReader(want), "owl_archive_delivery_seconds"); err != nil {
		t.Error(err)
	}
	for metric, want := range map[string]string{
		"queue_bytes":       `owl_archive_queue_bytes 10`,
		"queue_limit_bytes": `owl_archive_queue_limit_bytes 1000`,
		"queue_failing":     `owl_archive_queue_failing 0`,
		"results_total":     `owl_archive_results_total 5`,
		"refused_total":     `owl_archive_refused_total 0`,
		"queued":            `owl_archive_queued{destination="here"} 0|owl_archive_queued{destination="there"} 0`,
		"waiting":           `owl_archive_waiting{destination="here"} 1|owl_archive_waiting{destination="there"} 4`,
		"dead":              `owl_archive_dead{destination="here"} 1|owl_archive_dead{destination="there"} 0`,
		"oldest_seconds":    `owl_archive_oldest_seconds{destination="here"} 2|owl_archive_oldest_seconds{destination="there"} 2`,
		"delivered_total":   `owl_archive_delivered_total{destination="here"} 1|owl_archive_delivered_total{destination="there"} 0`,
		"discarded_total":   `owl_archive_discarded_total{destination="here"} 1|owl_archive_discarded_total{destination="there"} 0`,
		"retried_total":     `owl_archive_retried_total{destination="here"} 1|owl_archive_retried_total{destination="there"} 0`,
		"buried_total":      `owl_archive_buried_total{destination="here"} 1|owl_archive_buried_total{destination="there"} 0`,
		"dropped_total": `owl_archive_dropped_total{destination="here",reason="age"} 0|owl_archive_dropped_total{destination="here",reason="request"} 0|` +
			`owl_archive_dropped_total{destination="here",reason="size"} 0|owl_archive_dropped_total{destination="here",reason="ttl"} 1|` +
			`owl_archive_dropped_total{destination="there",reason="age"} 0|owl_archive_dropped_total{destination="there",reason="request"} 1|` +
			`owl_archive_dropped_total{destination="there",reason="size"} 0|owl_archive_dropped_total{destination="there",reason="ttl"} 0`,
	} {
		if got := series(t, reg, "owl_archive_"+metric); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	testprog.Promtool(t, scrape(reg))
}

// series returns the lines of a metric.
func series(t *testing.T, reg prometheus.Gatherer, name string) string {
	t.Helper()
	var all []string
	for line := range strings.Lines(scrape(reg)) {
		if rest, ok := strings.CutPrefix(line, name); ok && strings.IndexAny(rest, "{ ") == 0 {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return strings.Join(all, "|")
}

func scrape(reg prometheus.Gatherer) string {
	w := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

// A queue that cannot be read does not fail the scrape; what it fails to tell is
// not there.
func TestUnreadable(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	stats := func(context.Context) (queue.Stats, error) {
		return queue.Stats{Came: 7, Failing: errors.New("no"), Lines: []queue.LineStats{{Name: "here", Queued: 3}}}, errors.New("no")
	}
	if err := metrics.Register(reg, stats, nil); err != nil {
		t.Fatal(err)
	}
	for metric, want := range map[string]string{
		"results_total":  `owl_archive_results_total 7`,
		"queue_failing":  `owl_archive_queue_failing 1`,
		"queued":         `owl_archive_queued{destination="here"} 3`,
		"oldest_seconds": ``,
	} {
		if got := series(t, reg, "owl_archive_"+metric); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if err := metrics.Register(reg, stats, nil); err == nil {
		t.Error("it is registered twice")
	}
}
