package owamp

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// ParseSlots reads a schedule as owping's -i writes it: waiting times in
// seconds, separated by commas, each with a letter behind it or none: f is a
// fixed time, e or none the mean of exponentially distributed ones. "0.1,0.2f"
// waits 0.1 s in the mean and 0.2 s exactly in turn. A single time may be 0, but
// not all of them.
func ParseSlots(s string) ([]Slot, error) {
	var slots []Slot
	for f := range strings.SplitSeq(s, ",") {
		var slot Slot
		number := f
		switch {
		case strings.HasSuffix(f, "f"):
			slot.Type = SlotFixed
			number = f[:len(f)-1]
		case strings.HasSuffix(f, "e"):
			number = f[:len(f)-1]
		}
		v, err := strconv.ParseFloat(number, 64)
		if err != nil || !(v >= 0 && v < math.MaxUint32) {
			return nil, fmt.Errorf("schedule %q: %q: want seconds from 0, with f (fixed) or e (exponential) behind it or nothing", s, f)
		}
		slot.Parameter = IntervalSeconds(v)
		slots = append(slots, slot)
	}
	if spec := (SessionSpec{Slots: slots}); spec.MeanInterval() == 0 {
		return nil, fmt.Errorf("schedule %q: want a mean interval above 0", s)
	}
	return slots, nil
}
