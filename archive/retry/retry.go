// Package retry says when something that failed is tried again.
package retry

import (
	"math/rand/v2"
	"time"

	"owl/archive/member"
)

// A Policy is a list of steps, as archive specifications have them: so many
// retries with that wait before each, then those of the next step. It makes one
// try more than all its steps have attempts.
type Policy []Step

// A Step is a number of retries.
type Step struct {
	Attempts int64
	Wait     time.Duration
}

// maxSteps bounds a policy.
const maxSteps = 1000

// Read reads the member retry-policy of an archiver's data; nil: there is none. An
// empty one makes a single try. Elements may have other members, too, if lax.
func Read(o *member.Object, lax bool) Policy {
	const name = "retry-policy"
	if !o.Has(name) {
		return nil
	}
	p := Policy{}
	all := o.Objects(name)
	if len(all) > maxSteps {
		o.Fail(name, "%d steps: want at most %d", len(all), maxSteps)
		return nil
	}
	for _, e := range all {
		e.Need("attempts", "wait")
		p = append(p, Step{Attempts: e.Int("attempts", 1, 1<<31, 1), Wait: e.Duration("wait", 0)})
		if lax {
			e.AllowOthers()
		}
		e.Done()
	}
	return p
}

// Wait returns how long to wait after so many tries, all of which have failed;
// false: the policy has no further try.
func (p Policy) Wait(tries int64) (time.Duration, bool) {
	for _, s := range p {
		if tries -= s.Attempts; tries <= 0 {
			return s.Wait, true
		}
	}
	return 0, false
}

// Growing waits are what is used where there is no policy: each about twice as
// long as the one before, and no longer than an hour. They are jittered, so that
// what failed together is not tried again together.
const (
	first   = 5 * time.Second
	longest = time.Hour
)

// Grow returns how long to wait after so many tries, at least one. random is in
// [0, 1).
func Grow(tries int64, random float64) time.Duration {
	d := longest
	if n := min(max(tries, 1)-1, 20); first<<n < longest {
		d = first << n
	}
	return d - time.Duration(random*float64(d)/2)
}

// Jitter is a random number for [Grow].
func Jitter() float64 { return rand.Float64() }
