package result

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"owl/histogram"
)

// Merge returns the result of both, which are results of one task that stand for
// the same second: an archive that keeps one value for a task and a second would
// lose one of them. Neither is changed.
//
// Counts, histograms and times are added, and the extremes are those of both.
// What needs the order of packets is known of each by itself: a packet is not
// reordered, a loss period does not go on, and there is no delay variation from
// one to the other. A result that has not succeeded adds nothing but its gaps to
// one that has.
func Merge(a, b *Result) (*Result, error) {
	if a.Task.id != b.Task.id || !a.Time.Equal(b.Time) {
		return nil, fmt.Errorf("results of %s at %v and of %s at %v: want the same task and second", a.Task.id, a.Time, b.Task.id, b.Time)
	}
	if !earlier(a, b) {
		a, b = b, a
	}
	sum := *a
	sum.ID = uuid("results", []byte(a.ID), []byte(b.ID))
	sum.Gaps = slices.SortedFunc(slices.Values(slices.Concat(a.Gaps, b.Gaps)), func(x, y Gap) int {
		return cmp.Or(cmp.Compare(int64(x.Start-y.Start), 0), cmp.Compare(x.Reason, y.Reason), cmp.Compare(x.End, y.End))
	})
	if b.End.After(a.End) {
		sum.End = b.End
	}
	if b.Made.After(a.Made) {
		sum.Made = b.Made
	}
	sum.Scheduled += b.Scheduled
	sum.Measured += b.Measured
	sum.Sessions += b.Sessions
	if !a.Succeeded || !b.Succeeded {
		return &sum, nil // a has succeeded if any has
	}
	for _, n := range []struct{ sum, more *uint64 }{
		{&sum.Sent, &b.Sent},
		{&sum.Received, &b.Received},
		{&sum.Lost, &b.Lost},
		{&sum.Duplicates, &b.Duplicates},
		{&sum.Reordered, &b.Reordered},
		{&sum.Packets, &b.Packets},
		{&sum.NotSent, &b.NotSent},
		{&sum.ClockSteps, &b.ClockSteps},
	} {
		*n.sum += *n.more
	}
	sum.MaxError = max(a.MaxError, b.MaxError)
	sum.Synced = (a.Synced || a.Sent == 0) && (b.Synced || b.Sent == 0) && sum.Sent > 0
	sum.Delays = histogram.NewFixed(a.Delays.Width())
	if err := errors.Join(sum.Delays.Merge(a.Delays), sum.Delays.Merge(b.Delays)); err != nil {
		return nil, err
	}
	ttl := *a.TTL
	for i, n := range b.TTL {
		ttl[i] += n
	}
	sum.TTL = &ttl
	sum.LostBy = lostBy(a, b)
	sum.losses.lengths = merged(a.losses.lengths, b.losses.lengths)
	sum.losses.distances = merged(a.losses.distances, b.losses.distances)
	var err, err2 error
	sum.delay, err = a.delay.merge(&b.delay)
	sum.ipdv, err2 = a.ipdv.merge(&b.ipdv)
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	sum.raw = slices.Concat(a.raw, b.raw)
	sum.more = a.more + b.more
	if cut := len(sum.raw) - MaxRaw; cut > 0 {
		sum.raw, sum.more = sum.raw[:MaxRaw], sum.more+uint64(cut)
	}
	return &sum, nil
}

// earlier reports whether a comes before b, which both say alike: what has
// succeeded, and of that what began earlier.
func earlier(a, b *Result) bool {
	if a.Succeeded != b.Succeeded {
		return a.Succeeded
	}
	return cmp.Or(cmp.Compare(int64(a.Start-b.Start), 0), cmp.Compare(a.ID, b.ID)) < 0
}

// lostBy adds up who lost the packets of both; of packets of which one does not
// say it nobody knows.
func lostBy(a, b *Result) map[string]uint64 {
	if a.LostBy == nil && b.LostBy == nil {
		return nil
	}
	sum := merged(a.LostBy, b.LostBy)
	for _, r := range []*Result{a, b} {
		if r.LostBy == nil && r.Lost > 0 {
			sum["unknown"] += r.Lost
		}
	}
	return sum
}
