package metrics_test

import (
	"fmt"
	"log"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"owl/owamp"
	"owl/sessions"
	"owl/sessions/metrics"
)

func Example() {
	reg := prometheus.NewRegistry()
	collector, err := metrics.New(reg, metrics.Version("1.0.0"))
	if err != nil {
		log.Fatal(err)
	}

	labels := metrics.Labels{Source: "ams", Destination: "lon", Direction: metrics.To, Stream: "ams-lon"}
	stream := collector.Stream(labels, func() sessions.Snapshot {
		return sessions.Snapshot{State: sessions.StateRunning, Received: 100}
	})
	defer stream.Close()

	sent := owamp.FromTime(time.Now())
	stream.Observe([]owamp.Record{{Sent: sent, Recv: sent.AddDuration(12 * time.Millisecond)}})

	// http.Handle("GET /metrics", metrics.Handler(reg))
	n, err := testutil.GatherAndCount(reg, "owamp_packets_total")
	fmt.Println(n, err)
	// Output: 4 <nil>
}
