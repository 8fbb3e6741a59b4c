package bubble_test

import (
	"sync"
	"testing"
	"time"

	"owl/internal/bubble"
)

// Timers that fire while goroutines find others due, which the race detector
// does not often survive on two processors.
func TestTimersFireAndAreFoundDue(t *testing.T) {
	for range 2 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for range 20 {
				bubble.Test(t, crowd)
			}
		})
	}
}

func crowd(t *testing.T) {
	const goroutines, rounds = 200, 20
	begun := time.Now()
	var all sync.WaitGroup
	for range goroutines {
		all.Go(func() {
			due := time.NewTimer(time.Millisecond)
			for range rounds {
				time.Sleep(time.Millisecond)
				select {
				case <-due.C:
				default:
				}
				due.Reset(time.Millisecond)
			}
		})
	}
	all.Wait()
	if took := time.Since(begun); took != rounds*time.Millisecond {
		t.Errorf("%d sleeps of 1 ms took %v in a bubble", rounds, took)
	}
}
