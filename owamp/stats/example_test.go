package stats_test

import (
	"fmt"
	"net/netip"
	"time"

	"owl/owamp"
	"owl/owamp/stats"
)

// Three packets of a session of four came, and one was lost.
func ExampleSummarize() {
	start := owamp.FromUnix(1_700_000_000, 0)
	session := &stats.Session{
		Finished: true,
		NextSeq:  4,
		Spec: owamp.SessionSpec{
			Sender:   netip.MustParseAddrPort("192.0.2.1:8760"),
			Receiver: netip.MustParseAddrPort("192.0.2.2:8761"),
			Packets:  4,
			Slots:    []owamp.Slot{{Type: owamp.SlotFixed, Parameter: owamp.IntervalOf(time.Second)}},
			Start:    start,
			Timeout:  owamp.IntervalOf(10 * time.Second),
		},
	}
	var records []owamp.Record
	for seq, delay := range []time.Duration{2 * time.Millisecond, 0, 5 * time.Millisecond, 3 * time.Millisecond} {
		r := owamp.Record{Seq: uint32(seq), Sent: start.AddDuration(time.Duration(seq+1) * time.Second), TTL: 255}
		if delay > 0 {
			r.Recv = r.Sent.AddDuration(delay)
		}
		records = append(records, r)
	}
	file := func(yield func([]owamp.Record, error) bool) { yield(records, nil) } // as owp's Reader.Batches
	sum, err := stats.Summarize(session, file, stats.Options{BucketWidth: 0.001})
	if err != nil {
		fmt.Println(err)
		return
	}
	median, _ := sum.Percentile(0.5)
	fmt.Printf("%d of %d lost, median at most %g s\n", sum.Lost, sum.Sent, median)
	// Output: 1 of 4 lost, median at most 0.003 s
}
