package queue

import "sort"

const (
	// recentSize bounds the results that are in memory, in octets.
	recentSize = 16 << 20
	// overhead is about what a result takes beside its body, in octets.
	overhead = 512
)

// recent are the results that came last, so that lines which keep up need not
// read them.
type recent struct {
	results []*Result
	size    int
	from    int64 // all results behind it are there
}

// add adds the newest result.
func (c *recent) add(r *Result) {
	c.results = append(c.results, r)
	c.size += len(r.Body) + overhead
	drop := 0
	for c.size > recentSize && drop < len(c.results) {
		c.size -= len(c.results[drop].Body) + overhead
		c.from = c.results[drop].seq
		c.results[drop] = nil
		drop++
	}
	c.results = c.results[drop:]
}

// behind returns the first result behind seq, nil if there is none; known is
// false if that would have to be read.
func (c *recent) behind(seq int64) (r *Result, known bool) {
	if seq < c.from {
		return nil, false
	}
	i := sort.Search(len(c.results), func(i int) bool { return c.results[i].seq > seq })
	if i == len(c.results) {
		return nil, true
	}
	return c.results[i], true
}
