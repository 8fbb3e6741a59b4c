package archive

import (
	"context"
	"errors"
	"time"

	"owl/archive/retry"
)

// An Item is a result on its way to one destination.
type Item struct {
	// ID is the result's: the same at every try and at every destination, so
	// that whoever gets a result twice can tell.
	ID string
	// Payload is JSON in one line: the result document, or what the transform
	// has made of it, which may be any JSON value.
	Payload  []byte
	TaskHref string
	RunHref  string
	Tries    int64     // that were made before
	Last     time.Time // when the last of them was; zero: there was none
}

// A Destination is where items go. Its methods may be called by many goroutines
// at once. It delivers at least once: an item whose answer was lost comes again.
type Destination interface {
	// Deliver returns nil once the destination has said that it has the item,
	// and an error if it has not, which may be a [*FinalError] or an
	// [*AgainError]. It is given up when ctx is done.
	Deliver(ctx context.Context, item *Item) error
	// Close gives back what the destination has open.
	Close() error
}

// An Opened is a destination that is ready to be used.
type Opened struct {
	Destination
	// Retry says when a failure is tried again. Without a policy it is, in
	// growing waits, until the result's time is over; see [retry.Grow].
	Retry retry.Policy
	// Parallel is how many items may be on their way at once; 0: one, and so
	// they arrive in their order.
	Parallel int
}

// An Opener makes destinations of specifications; dest.Open is one. It reaches
// out to nobody: what is wrong with a specification it says, and what is wrong
// with the destination Deliver says.
type Opener func(*Spec) (Opened, error)

// A FinalError is one that no further try would change.
type FinalError struct{ Err error }

func (e *FinalError) Error() string { return e.Err.Error() }
func (e *FinalError) Unwrap() error { return e.Err }

// Final returns err as a [*FinalError].
func Final(err error) error { return &FinalError{err} }

// IsFinal reports whether no further try would change err.
func IsFinal(err error) bool {
	_, ok := errors.AsType[*FinalError](err)
	return ok
}

// An AgainError is one of which the destination says when it is to be tried
// again, whatever the policy.
type AgainError struct {
	Err   error
	After time.Duration
}

func (e *AgainError) Error() string { return e.Err.Error() }
func (e *AgainError) Unwrap() error { return e.Err }
