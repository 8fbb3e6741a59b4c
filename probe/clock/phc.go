package clock

import (
	"errors"
	"fmt"
	"time"
)

// A Crossing is a reading of a network card's clock and of the host's wall clock
// at the same time.
type Crossing struct {
	Card  int64         // the card's clock, in nanoseconds since an epoch of its own
	Wall  int64         // the wall clock, in nanoseconds since 1970
	Error time.Duration // by how much Wall may be off: half of the time that the reading took
}

// A reading is one of the card's clock between two of the wall clock, in
// nanoseconds.
type reading struct{ before, card, after int64 }

// crossing returns what the reading says of the middle of the time that it took.
func (r reading) crossing() (Crossing, bool) {
	took := r.after - r.before
	if took < 0 || took > int64(time.Second) { // the wall clock was set meanwhile, or time stood still
		return Crossing{}, false
	}
	half := took / 2
	return Crossing{Card: r.card, Wall: r.before + half, Error: time.Duration(took - half)}, true
}

var errNoCrossing = errors.New("no reading that makes sense")

// narrowest returns the reading that took the least time, and so says the most.
func narrowest(readings []reading) (Crossing, error) {
	var best Crossing
	found := false
	for _, r := range readings {
		if c, ok := r.crossing(); ok && (!found || c.Error < best.Error) {
			best, found = c, true
		}
	}
	if !found {
		return Crossing{}, fmt.Errorf("%d readings: %w", len(readings), errNoCrossing)
	}
	return best, nil
}
