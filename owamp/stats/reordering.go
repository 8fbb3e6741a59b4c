package stats

// reordering counts n-reordered packets: those that come right after n packets
// with greater sequence numbers (draft-shalunov-reordering-definition-02).
//
// The extent of a packet is how many arrivals of greater numbers precede it
// without interruption; it is n-reordered for each n up to its extent. To know
// it only arrivals matter that no later one of a lower number hides, so each
// arrival is put on a stack once and taken off once. Packets that come one
// after the other in their order lie there together.
type reordering struct {
	depth    int64    // greater extents count as this one
	received int64    // arrivals so far
	stack    []row    // ascending both ways
	hidden   int      // of the stack's lower end, which nobody can ask for any more
	extents  []uint32 // extents[e-1] packets have the extent e
}

// A row is the arrivals index, index+1, … of the packets seq, seq+1, …
type row struct {
	seq, n uint32
	index  int64
}

// arrive counts the arrival of seq. No number below settled will come again.
func (r *reordering) arrive(seq, settled uint32) {
	if len(r.stack) > 0 && r.expected() == seq {
		r.goOn(1, settled)
		return
	}
	r.interrupt(seq)
	r.received++
	r.settle(settled)
}

// expected returns the number that follows the one that came last, of which
// there must be one.
func (r *reordering) expected() uint32 {
	top := &r.stack[len(r.stack)-1]
	return top.seq + top.n
}

// goOn counts the arrivals of the next n numbers expected.
func (r *reordering) goOn(n, settled uint32) {
	r.stack[len(r.stack)-1].n += n
	r.received += int64(n)
	r.settle(settled)
}

// settle takes note that no number below settled will come again.
func (r *reordering) settle(settled uint32) {
	// Of the arrivals up to settled only the last can stop a later one.
	for r.hidden+1 < len(r.stack) && r.stack[r.hidden+1].seq <= settled {
		r.hidden++
	}
}

// interrupt counts the arrival of seq, which does not follow the one before.
func (r *reordering) interrupt(seq uint32) {
	top := len(r.stack)
	for top > r.hidden && r.stack[top-1].seq > seq {
		top--
	}
	r.stack = r.stack[:top]
	extent := r.received
	if top > r.hidden {
		last := &r.stack[top-1]
		last.n = min(last.n, seq-last.seq+1)
		extent -= last.index + int64(last.n)
	}
	if extent = min(extent, r.depth); extent > 0 {
		for int64(len(r.extents)) < extent {
			r.extents = append(r.extents, 0)
		}
		r.extents[extent-1]++
	}
	if len(r.stack) == cap(r.stack) && r.hidden > len(r.stack)/2 {
		r.stack = r.stack[:copy(r.stack, r.stack[r.hidden:])]
		r.hidden = 0
	}
	r.stack = append(r.stack, row{seq, 1, r.received})
}

// counts returns how many packets are n-reordered, at index n-1, up to the
// greatest n of which there are any.
func (r *reordering) counts() []uint32 {
	counts := make([]uint32, len(r.extents))
	var sum uint32
	for i := len(counts) - 1; i >= 0; i-- {
		sum += r.extents[i]
		counts[i] = sum
	}
	return counts
}
