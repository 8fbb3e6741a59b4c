package result

import "maps"

// losses are the loss periods of RFC 3357 section 4.6: runs of lost packets.
type losses struct {
	lengths   map[uint64]uint64 // how many periods have so many packets
	distances map[uint64]uint64 // how many begin so many packets after the end of the one before
	run       uint64            // the packets of the period that goes on; 0: there was none yet
	last      uint64            // the last packet that was lost
}

// lose takes note of a lost packet. They come in the order of their numbers.
func (l *losses) lose(seq uint32) {
	n := uint64(seq)
	if l.run > 0 && n == l.last+1 {
		l.run++
		l.last = n
		return
	}
	if l.run > 0 {
		count(&l.distances, n-l.last)
	}
	l.end()
	l.run, l.last = 1, n
}

// end ends the period that goes on.
func (l *losses) end() {
	if l.run > 0 {
		count(&l.lengths, l.run)
	}
	l.run = 0
}

func count(m *map[uint64]uint64, key uint64) {
	if *m == nil {
		*m = make(map[uint64]uint64)
	}
	(*m)[key]++
}

// merged returns the sum of two counts; nil if it is empty.
func merged[K comparable](a, b map[K]uint64) map[K]uint64 {
	if len(a) == 0 {
		return maps.Clone(b)
	}
	sum := maps.Clone(a)
	for k, n := range b {
		sum[k] += n
	}
	return sum
}
