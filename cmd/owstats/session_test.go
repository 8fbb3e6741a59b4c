package main

import (
	"cmp"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"owl/owamp"
	"owl/owamp/owp"
	"owl/owamp/schedule"
)

// A network says what happens to the packets of a test session.
type network struct {
	packets                   uint32
	interval, timeout         float64 // s
	loss, duplicate, displace float64 // shares
	offset                    float64 // of the receiver's clock, s
	unsynced                  float64 // share
	skips                     []owamp.SkipRange
	incomplete                bool
}

// record writes the .owp file of a session over such a network, as a receiver
// would, and returns its path.
func (n network) record(t testing.TB, rng *rand.Rand) string {
	t.Helper()
	spec := owamp.SessionSpec{
		ConfSender: true,
		Slots:      []owamp.Slot{{Type: owamp.SlotExponential, Parameter: owamp.IntervalSeconds(n.interval)}},
		Packets:    n.packets,
		Sender:     netip.MustParseAddrPort("192.0.2.1:8761"),
		Receiver:   netip.MustParseAddrPort("192.0.2.2:8762"),
		Start:      owamp.FromUnix(1_760_000_000, rng.Int64N(1e9)),
		Timeout:    owamp.IntervalSeconds(n.timeout),
		Padding:    rng.Uint32N(1000),
		TypeP:      owamp.TypePOf(uint8(rng.IntN(64))),
	}
	for i := range spec.SID {
		spec.SID[i] = byte(rng.Uint32())
	}
	path := filepath.Join(t.TempDir(), "session.owp")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := owp.Create(f, &spec)
	if err != nil {
		t.Fatal(err)
	}
	recs := n.arrivals(t, rng, &spec)
	if err := w.Write(recs...); err != nil {
		t.Fatal(err)
	}
	if n.incomplete {
		err = w.FinishIncomplete()
	} else {
		err = w.Finish(spec.Packets, n.skips, spec.Start.Add(spec.Timeout)+1<<60)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func (n network) arrivals(t testing.TB, rng *rand.Rand, spec *owamp.SessionSpec) []owamp.Record {
	t.Helper()
	g, err := schedule.New(spec.SID, spec.Slots)
	if err != nil {
		t.Fatal(err)
	}
	type event struct {
		at owamp.Timestamp
		r  owamp.Record
	}
	const estimate owamp.ErrorEstimate = 0x8a80
	var events []event
	due := spec.Start
	for seq := range n.packets {
		due = due.Add(g.Next())
		lost := event{due.Add(spec.Timeout), owamp.Record{Seq: seq, Sent: due, SentErr: owamp.UnknownError, RecvErr: estimate, TTL: 255}}
		if rng.Float64() < n.loss {
			events = append(events, lost)
			continue
		}
		r := owamp.Record{Seq: seq, Sent: due.Add(owamp.Interval(rng.Uint32N(1 << 16))), SentErr: estimate, RecvErr: estimate + owamp.ErrorEstimate(rng.IntN(3)), TTL: uint8(250 + rng.IntN(2))}
		if rng.Float64() < n.unsynced {
			r.SentErr = owamp.UnknownError
		}
		d := 0.002 + 0.0005*rng.ExpFloat64()
		if rng.Float64() < n.displace {
			d += 5 * n.interval * rng.Float64()
		}
		arrive := r.Sent.Add(owamp.IntervalSeconds(d))
		for copies := 1; ; copies++ {
			r.Recv = arrive + owamp.Timestamp(int64(n.offset*(1<<32)))
			// A receiver passes over what comes after its time-out.
			if arrive < lost.at {
				events = append(events, event{arrive, r})
			} else if copies == 1 {
				events = append(events, lost)
			}
			if copies == 4 || rng.Float64() >= n.duplicate {
				break
			}
			arrive = arrive.Add(owamp.IntervalSeconds(n.interval * rng.Float64()))
		}
	}
	slices.SortStableFunc(events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	recs := make([]owamp.Record, len(events))
	for i, e := range events {
		recs[i] = e.r
	}
	return recs
}
