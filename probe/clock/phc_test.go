package clock

import (
	"errors"
	"testing"
	"time"
)

func TestNarrowest(t *testing.T) {
	const tai = 37e9 // a card that keeps TAI is ahead
	for _, tc := range []struct {
		name     string
		readings []reading
		want     Crossing
		err      error
	}{
		{"one", []reading{{1000, 1500 + tai, 2000}}, Crossing{Card: 1500 + tai, Wall: 1500, Error: 500}, nil},
		{"the narrowest of three", []reading{{1000, 2500, 4000}, {5000, 5010, 5101}, {6000, 6500, 7000}},
			Crossing{Card: 5010, Wall: 5050, Error: 51}, nil},
		{"the wall clock was set back", []reading{{1000, 1500, 900}, {2000, 2500, 3000}}, Crossing{Card: 2500, Wall: 2500, Error: 500}, nil},
		{"no time between", []reading{{1000, -7, 1000}}, Crossing{Card: -7, Wall: 1000}, nil},
		{"only nonsense", []reading{{1000, 1500, 900}, {0, 0, int64(time.Hour)}}, Crossing{}, errNoCrossing},
		{"none", nil, Crossing{}, errNoCrossing},
	} {
		if got, err := narrowest(tc.readings); got != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: narrowest = %+v, %v, want %+v, %v", tc.name, got, err, tc.want, tc.err)
		}
	}
}
