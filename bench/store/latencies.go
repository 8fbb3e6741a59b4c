package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// latencies are how long things took.
type latencies struct {
	mu  sync.Mutex
	all []time.Duration
}

func (l *latencies) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, d)
}

// String returns the median, the 99th percentile and the maximum.
func (l *latencies) String() string {
	if len(l.all) == 0 {
		return "nothing"
	}
	slices.Sort(l.all)
	at := func(p float64) time.Duration {
		return l.all[int(p*float64(len(l.all)-1))].Round(100 * time.Microsecond)
	}
	return fmt.Sprintf("median %v, p99 %v, at most %v", at(0.5), at(0.99), at(1))
}
