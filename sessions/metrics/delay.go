package metrics

import (
	"math"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"owl/owamp"
)

// classicBounds are the upper bounds of the classic buckets. The first holds
// the delays that cannot be, so that a graph shows clocks that disagree; then
// 1, 2, 5 where networks are.
var classicBounds = [...]time.Duration{
	0,
	1 * time.Microsecond, 5 * time.Microsecond,
	10 * time.Microsecond, 20 * time.Microsecond, 50 * time.Microsecond,
	100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
	1 * time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	1 * time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
}

// The native histogram has schema 3: bucket i holds the values in
// (2^((i-1)/8), 2^(i/8)] seconds, so that a bound is at most 9.1 % above the
// one before. Two time stamps differ by nothing, or by 1 ns to 2^31 s: that
// is buckets minKey to minKey+8*octaves-1, and bounds what a peer with a
// strange clock can make this host keep and send.
const (
	schema        = 3
	perOctave     = 1 << schema
	minExponent   = -30
	minKey        = minExponent * perOctave
	octaves       = 31 - minExponent + 1
	zeroThreshold = 1.0 / (1 << -minExponent)
)

// octaveBounds are the lower bounds of the buckets within [0.5, 1).
var octaveBounds = func() (b [perOctave]float64) {
	for i := range b {
		b[i] = math.Exp2(float64(i)/perOctave - 1)
	}
	return b
}()

// buckets counts the delays of one sign. They keep to a few octaves, so only
// those have memory.
type buckets [octaves]*[perOctave]uint64

// add counts a delay of v seconds, from a nanosecond to 2^31 s.
func (b *buckets) add(v float64) {
	frac, exp := math.Frexp(v)
	k := (exp-1)*perOctave + sort.SearchFloat64s(octaveBounds[:], frac) - minKey
	o := b[k/perOctave]
	if o == nil {
		o = new([perOctave]uint64)
		b[k/perOctave] = o
	}
	o[k%perOctave]++
}

// merge adds the counts of from.
func (b *buckets) merge(from *buckets) {
	for i, o := range from {
		if o == nil {
			continue
		}
		if b[i] == nil {
			b[i] = new([perOctave]uint64)
		}
		for j, n := range o {
			b[i][j] += n
		}
	}
}

// spans returns the counts in the form of a native histogram: runs of
// neighbouring buckets, and the difference of each count to the one before.
func (b *buckets) spans() (spans []*dto.BucketSpan, deltas []int64) {
	var last int64 // count of the bucket before
	next := 0      // key after the last span
	for i, o := range b {
		if o == nil {
			continue
		}
		for j, n := range o {
			if n == 0 {
				continue
			}
			k := minKey + i*perOctave + j
			if len(spans) == 0 || k != next {
				spans = append(spans, &dto.BucketSpan{Offset: new(int32(k - next)), Length: new(uint32(0))})
			}
			*spans[len(spans)-1].Length++
			deltas = append(deltas, int64(n)-last)
			last, next = int64(n), k+1
		}
	}
	return spans, deltas
}

// delays is a histogram of one-way delays, native and, unless classic is nil,
// classic at the same time. A batch of records is added under one lock, so that
// a scrape sees counts and sum that belong together.
type delays struct {
	mu                 sync.Mutex
	count, zero        uint64
	sum                float64 // seconds
	positive, negative buckets
	classic            *[len(classicBounds) + 1]uint64 // the last one holds what is above all bounds
}

// init makes an empty histogram, with classic buckets or without.
func (d *delays) init(classic bool) {
	if classic {
		d.classic = new([len(classicBounds) + 1]uint64)
	}
}

// add counts the delays of the records that were received for the first time.
func (d *delays) add(recs []owamp.Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range recs {
		r := &recs[i]
		if r.Lost() || r.Flags&owamp.FlagDuplicate != 0 {
			continue
		}
		delay := r.Recv.Sub(r.Sent)
		v := seconds(delay)
		d.count++
		d.sum += v
		switch {
		case delay > 0:
			d.positive.add(v)
		case delay < 0:
			d.negative.add(-v)
		default:
			d.zero++
		}
		if d.classic != nil {
			b, _ := slices.BinarySearch(classicBounds[:], delay)
			d.classic[b]++
		}
	}
}

// merge adds what from counts.
func (d *delays) merge(from *delays) {
	from.mu.Lock()
	defer from.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count += from.count
	d.zero += from.zero
	d.sum += from.sum
	d.positive.merge(&from.positive)
	d.negative.merge(&from.negative)
	if d.classic != nil && from.classic != nil {
		for i, n := range from.classic {
			d.classic[i] += n
		}
	}
}

// metric returns a copy of the histogram as it is now.
func (d *delays) metric(created time.Time, labels []string) prometheus.Metric {
	d.mu.Lock()
	defer d.mu.Unlock()
	var cumulated map[float64]uint64
	if d.classic != nil {
		cumulated = make(map[float64]uint64, len(classicBounds))
		var n uint64
		for i, b := range classicBounds {
			n += d.classic[i]
			cumulated[seconds(b)] = n
		}
	}
	m := &nativeHistogram{
		Metric: prometheus.MustNewConstHistogramWithCreatedTimestamp(delayDesc, d.count, d.sum, cumulated, created, labels...),
		zero:   d.zero,
	}
	m.positiveSpans, m.positiveDeltas = d.positive.spans()
	m.negativeSpans, m.negativeDeltas = d.negative.spans()
	return m
}

// A nativeHistogram adds the native half to a classic one; the client library
// makes constant histograms of either kind but not of both.
type nativeHistogram struct {
	prometheus.Metric
	zero                           uint64
	positiveSpans, negativeSpans   []*dto.BucketSpan
	positiveDeltas, negativeDeltas []int64
}

// Write implements [prometheus.Metric].
func (m *nativeHistogram) Write(out *dto.Metric) error {
	if err := m.Metric.Write(out); err != nil {
		return err
	}
	h := out.Histogram
	h.Schema = new(int32(schema))
	h.ZeroThreshold = new(float64(zeroThreshold))
	h.ZeroCount = new(m.zero)
	h.PositiveSpan, h.PositiveDelta = m.positiveSpans, m.positiveDeltas
	h.NegativeSpan, h.NegativeDelta = m.negativeSpans, m.negativeDeltas
	return nil
}
