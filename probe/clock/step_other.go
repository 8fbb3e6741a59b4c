//go:build !linux

package clock

import (
	"context"
	"time"
)

const (
	// leastStep is more than the wall clock is slewed by from one look to the
	// next, and than it is read too coarsely.
	leastStep = 200 * time.Millisecond
	// drifts says that slewing comes between the wall clock and the monotonic one.
	drifts = true
)

// watchSet does nothing: who wants to know whether the clock was set looks.
func watchSet(context.Context, func()) {}
