// Package bubble runs a test in a bubble of testing/synctest, in which time is
// the test's own, and keeps the race detector alive in it.
//
// The timers of a bubble have one context of the race detector between them. A
// timer that fires and a goroutine that finds another timer due use it at the
// same moment, on two processors, and the detector dies of a nil pointer
// (golang/go#78156, Go 1.26). On one processor they cannot, and what the
// detector knows, which is what happened before what, it knows there as well.
package bubble

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
)

// Test is [synctest.Test].
func Test(t *testing.T, f func(*testing.T)) {
	t.Helper()
	if raceEnabled {
		one.enter()
		defer one.leave()
	}
	synctest.Test(t, f)
}

// one holds the program to one processor while there is a bubble.
var one processor

type processor struct {
	mu      sync.Mutex
	bubbles int
	before  int // processors that there were
}

func (p *processor) enter() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bubbles++; p.bubbles == 1 {
		p.before = runtime.GOMAXPROCS(1)
	}
}

func (p *processor) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bubbles--; p.bubbles == 0 {
		runtime.GOMAXPROCS(p.before)
	}
}
