package stats

import (
	"encoding/binary"
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"owl/owamp"
	"owl/owamp/schedule"
)

// newSession returns a session of so many packets, 100 a second with a time-out
// of 1 s, and when each is due.
func newSession(t testing.TB, packets uint32) (*Session, []owamp.Timestamp) {
	t.Helper()
	s := &Session{
		Finished: true,
		NextSeq:  packets,
		Spec: owamp.SessionSpec{
			Slots:    []owamp.Slot{{Type: owamp.SlotExponential, Parameter: owamp.IntervalSeconds(0.01)}},
			Packets:  packets,
			Sender:   netip.MustParseAddrPort("192.0.2.1:8761"),
			Receiver: netip.MustParseAddrPort("192.0.2.2:8762"),
			SID:      owamp.SID{1, 2, 3, 4, 15: 9},
			Start:    owamp.FromUnix(1_700_000_000, 0),
			Timeout:  owamp.IntervalSeconds(1),
		},
	}
	return s, due(t, s)
}

// due returns when each packet of a session is scheduled.
func due(t testing.TB, s *Session) []owamp.Timestamp {
	t.Helper()
	g, err := schedule.New(s.Spec.SID, s.Spec.Slots)
	if err != nil {
		t.Fatal(err)
	}
	times := make([]owamp.Timestamp, s.Spec.Packets)
	at := s.Spec.Start
	for i := range times {
		at = at.Add(g.Next())
		times[i] = at
	}
	return times
}

const (
	sure   owamp.ErrorEstimate = 0x8a80 // synchronized, 30.5 µs
	unsure owamp.ErrorEstimate = 0x0001
)

// record returns the record of a packet sent at sent that took d seconds.
func record(seq uint32, sent owamp.Timestamp, d float64) owamp.Record {
	recv := sent.Add(owamp.IntervalSeconds(d))
	if d < 0 {
		recv = sent - owamp.Timestamp(owamp.IntervalSeconds(-d))
	}
	return owamp.Record{Seq: seq, Sent: sent, Recv: recv, SentErr: sure, RecvErr: sure, TTL: 250}
}

// lostRecord returns the record of a packet that was due at due and did not come.
func lostRecord(seq uint32, due owamp.Timestamp) owamp.Record {
	return owamp.Record{Seq: seq, Sent: due, SentErr: owamp.UnknownError, RecvErr: sure, TTL: 255}
}

// yield yields records as a file does.
func yield(recs []owamp.Record) iter.Seq2[[]owamp.Record, error] {
	return func(yield func([]owamp.Record, error) bool) {
		for some := range slices.Chunk(recs, 100) {
			if !yield(slices.Clone(some), nil) {
				return
			}
		}
	}
}

// arrivals returns the records that a receiver would write of a session over a
// network that loses, duplicates, delays and reorders, in its order.
func arrivals(rng *rand.Rand, times []owamp.Timestamp, timeout owamp.Interval) []owamp.Record {
	type event struct {
		at owamp.Timestamp
		r  owamp.Record
	}
	var events []event
	for seq, at := range times {
		if rng.IntN(10) == 0 {
			events = append(events, event{at.Add(timeout), lostRecord(uint32(seq), at)})
			continue
		}
		d := 0.002 + 0.001*rng.ExpFloat64()
		if rng.IntN(8) == 0 {
			d += 0.05 * rng.Float64()
		}
		if rng.IntN(40) == 0 {
			d = -d
		}
		for range 1 + rng.IntN(8)/7*(1+rng.IntN(2)) {
			r := record(uint32(seq), at, d)
			r.TTL = uint8(240 + rng.IntN(3))
			if rng.IntN(500) == 0 {
				r.SentErr = unsure
			}
			events = append(events, event{r.Recv, r})
			d += 0.01 * rng.Float64()
		}
	}
	// A stable sort by time, insertion being quick on what is nearly sorted.
	for i := range events {
		for j := i; j > 0 && events[j].at.Before(events[j-1].at); j-- {
			events[j], events[j-1] = events[j-1], events[j]
		}
	}
	recs := make([]owamp.Record, len(events))
	for i, e := range events {
		recs[i] = e.r
	}
	return recs
}

// decodeRecords makes records of 12 octets each near their schedule, for fuzzing.
func decodeRecords(b []byte, times []owamp.Timestamp) []owamp.Record {
	var recs []owamp.Record
	for ; len(b) >= 12; b = b[12:] {
		seq := uint32(binary.BigEndian.Uint16(b))
		at := times[int(seq)%len(times)] + owamp.Timestamp(int64(int32(binary.BigEndian.Uint32(b[2:]))))
		r := owamp.Record{Seq: seq, Sent: at, SentErr: owamp.ErrorEstimate(binary.BigEndian.Uint16(b[6:])), RecvErr: sure, TTL: b[8]}
		if b[9]&3 != 0 {
			r.Recv = at + owamp.Timestamp(int64(int16(binary.BigEndian.Uint16(b[10:])))<<18)
		}
		recs = append(recs, r)
	}
	return recs
}
