package recorder_test

import (
	"testing"

	"owl/owamp"
	"owl/owamp/schedule"
	"owl/sessions/recorder"
)

// The parts of a session follow one another to its end, whether or not they
// divide it.
func TestPartsOfSession(t *testing.T) {
	spec := owamp.SessionSpec{
		SID:     owamp.SID{1, 2, 3},
		Slots:   []owamp.Slot{{Type: owamp.SlotExponential, Parameter: 1 << 30}},
		Start:   1 << 63,
		Packets: 100,
	}
	end, err := schedule.End(&spec)
	if err != nil {
		t.Fatal(err)
	}
	for each, want := range map[uint32]int{0: 0, 1: 100, 25: 4, 30: 4, 100: 1, 1 << 31: 1} {
		parts, err := recorder.NewParts(&spec, each)
		if err != nil {
			t.Fatal(err)
		}
		n, last, at := 0, uint32(0), spec.Start
		for p, ok := parts.Next(); ok; p, ok = parts.Next() {
			until := spec
			until.Packets = p.Last
			scheduled, err := schedule.End(&until)
			if err != nil {
				t.Fatal(err)
			}
			if p.Index != n || p.First != last || p.Start != at || p.Last <= p.First || p.End != scheduled {
				t.Errorf("parts of %d: %+v, want number %d of packet %d at %d to %d", each, p, n, last, at, scheduled)
			}
			n, last, at = n+1, p.Last, p.End
		}
		if n != want || n > 0 && (last != 100 || at != end) {
			t.Errorf("%d parts of %d, to packet %d at %d: want %d, to 100 at %d", n, each, last, at, want, end)
		}
		if p, ok := parts.Next(); ok {
			t.Errorf("parts of %d: %+v after the last", each, p)
		}
	}
	if _, err := recorder.NewParts(&owamp.SessionSpec{Packets: 1}, 1); err == nil {
		t.Error("parts of no schedule: want an error")
	}
}
