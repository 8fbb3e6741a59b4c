package dest

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"owl/archive"
	"owl/archive/member"
)

// A failer takes results, or fails, by chance: for those who want to see what
// happens then.
type failer struct {
	fail, retry float64 // how likely it is to fail, and then to want another try
	delay       time.Duration
	badly       bool
}

func openFailer(o *member.Object, _ *archive.Spec) (archive.Opened, error) {
	schema := o.Schema(2)
	f := failer{fail: o.Float("fail", 0.5), retry: o.Float("retry", 0.5), delay: o.Duration("delay", 0)}
	if o.Since(schema, 2, "badly") {
		f.badly = o.Bool("badly", false)
	}
	return archive.Opened{Destination: f}, nil
}

// Errors of a failer, and how long after them it wants another try.
var (
	errInduced      = errors.New("induced random failure, not retrying")
	errInducedRetry = errors.New("induced random failure with retry")
	errBadly        = errors.New("forced to fail badly")
)

const failerRetry = 10 * time.Second

func (f failer) Deliver(ctx context.Context, _ *archive.Item) error {
	timer := time.NewTimer(f.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	switch {
	case f.badly:
		return archive.Final(errBadly)
	case rand.Float64() >= f.fail:
		return nil
	case rand.Float64() < f.retry:
		return &archive.AgainError{Err: errInducedRetry, After: failerRetry}
	}
	return archive.Final(errInduced)
}

func (failer) Close() error { return nil }
