// Package schedule computes when the packets of a session are due. Sender and
// receiver compute it apart from each other, from what Request-Session says
// alone, so every bit counts: see RFC 4656 sections 3.5 and 5.
//
// The waiting times of exponential slots come from Knuth's algorithm S (The Art
// of Computer Programming, volume 2, section 3.4.1) in 64-bit fixed point, its
// uniform numbers from AES-128 in counter mode under the session identifier.
package schedule

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"owl/owamp"
)

// Horizon is how long after the start of its session, 34 years, a packet may be
// due. Those who add up waiting times stop there: sums would wrap around, and time
// stamps that are further apart than 68 years cannot be compared.
const Horizon owamp.Interval = 1 << 62

// A Generator yields the waiting times of one session, one after the other,
// without end. A copy of it continues by itself from where the original stands.
type Generator struct {
	block    cipher.Block // keyed with the session identifier; without state
	slots    []owamp.Slot // never written to
	fixed    bool         // all slots are, so that nothing is drawn
	slot     int          // the slot of the next packet
	uniforms uniforms
}

// New returns the schedule of the session sid at its begin. It fails if there
// are no slots or one is of an unknown type.
func New(sid owamp.SID, slots []owamp.Slot) (*Generator, error) {
	if len(slots) == 0 {
		return nil, errors.New("schedule: no slots, want at least one")
	}
	for i, s := range slots {
		if s.Type != owamp.SlotExponential && s.Type != owamp.SlotFixed {
			return nil, fmt.Errorf("schedule: slot %d is of type %d, want 0 (exponential) or 1 (fixed)", i, s.Type)
		}
	}
	block, err := aes.NewCipher(sid[:])
	if err != nil {
		return nil, fmt.Errorf("schedule: %w", err)
	}
	drawn := slices.ContainsFunc(slots, func(s owamp.Slot) bool { return s.Type != owamp.SlotFixed })
	g := &Generator{block: block, slots: slices.Clone(slots), fixed: !drawn}
	g.uniforms.at = len(g.uniforms.numbers)
	return g, nil
}

// Next returns the time between the packet before (the start of the session
// for the first one) and the next packet.
func (g *Generator) Next() owamp.Interval {
	s := &g.slots[g.slot]
	if g.slot++; g.slot == len(g.slots) {
		g.slot = 0
	}
	if s.Type == owamp.SlotFixed {
		return s.Parameter
	}
	u := &g.uniforms
	if len(u.numbers)-u.at < most {
		u.refill(g.block)
	}
	var wait [1]owamp.Interval
	_, used := exponentials(wait[:], u.numbers[u.at:], s.Parameter)
	u.at += used
	return wait[0]
}

// Fill writes to waits what as many calls of [Generator.Next] would return. If
// they are many, of a single exponential slot, it takes half of their time. It
// allocates.
func (g *Generator) Fill(waits []owamp.Interval) {
	if g.fixed || len(g.slots) > 1 || len(waits) < bulkSize/4 {
		for i := range waits {
			waits[i] = g.Next()
		}
		return
	}
	b := newBulk(g.block, &g.uniforms)
	for {
		n, used := exponentials(waits, b.left, g.slots[0].Parameter)
		b.left = b.left[used:]
		if waits = waits[n:]; len(waits) == 0 {
			break
		}
		b.refill()
	}
	b.putBack(&g.uniforms)
}

// Fixed reports whether all slots are fixed, so that [Generator.Advance] takes no
// time.
func (g *Generator) Fixed() bool { return g.fixed }

// Advance goes n packets on and returns the sum of their waiting times, modulo
// 2^64. It takes about 10 ns a packet, and no time if all slots are [Generator.Fixed].
func (g *Generator) Advance(n uint64) owamp.Interval {
	var sum owamp.Interval
	if g.fixed {
		for _, s := range g.slots {
			sum += s.Parameter
		}
		sum *= owamp.Interval(n / uint64(len(g.slots)))
		n %= uint64(len(g.slots))
	}
	var waits [bulkSize]owamp.Interval
	for n > 0 {
		some := waits[:min(n, uint64(len(waits)))]
		g.Fill(some)
		for _, wait := range some {
			sum += wait
		}
		n -= uint64(len(some))
	}
	return sum
}

// Within returns how many packets a stretch of time d may be expected to hold
// at most, wherever in the schedule it lies.
func (g *Generator) Within(d owamp.Interval) uint64 {
	var hi, lo uint64
	for _, s := range g.slots {
		var carry uint64
		lo, carry = bits.Add64(lo, uint64(s.Parameter), 0)
		hi += carry
	}
	rounds := uint64(2) // one that has begun before the stretch and one that ends after it
	switch {
	case hi > 0:
	case lo == 0:
		return math.MaxUint64
	default:
		rounds += uint64(d) / lo
	}
	if hi, lo = bits.Mul64(rounds, uint64(len(g.slots))); hi > 0 {
		return math.MaxUint64
	}
	return lo
}

// End returns when the last packet of the session is due: its start and the
// sum of all waiting times, modulo 2^64. It fails where [New] does and takes
// about 20 ns a packet unless all slots are fixed.
func End(s *owamp.SessionSpec) (owamp.Timestamp, error) {
	g, err := New(s.SID, s.Slots)
	if err != nil {
		return 0, err
	}
	return s.Start.Add(g.Advance(uint64(s.Packets))), nil
}

const (
	ln2       = 0xB17217F8
	quantile2 = 0xEEF193F7
	quantile3 = 0xFD271862
)

// quantiles are Q[k] = sum over i from 1 to k of (ln 2)^i / i! of algorithm S
// in units of 2^-32, for k from 1; Q[1] is ln 2. RFC 4656 section 5 prints
// them.
var quantiles = [...]uint32{
	1:  ln2,
	2:  quantile2,
	3:  quantile3,
	4:  0xFF9D6DD0,
	5:  0xFFF4CFD0,
	6:  0xFFFEE819,
	7:  0xFFFFE7FF,
	8:  0xFFFFFE2B,
	9:  0xFFFFFFE0,
	10: 0xFFFFFFFE,
	11: 0xFFFFFFFF,
}

// most is how many uniform numbers an exponential one can take.
const most = len(quantiles)

// exponentials writes exponentially distributed numbers of the given mean to
// waits, as many as the uniform numbers u are sure to be enough for, and returns
// how many those are and how many of u they took.
func exponentials(waits []owamp.Interval, u []uint32, mean owamp.Interval) (n, used int) {
	for n < len(waits) && used+most <= len(u) {
		of := u[used:][:most:most]
		// S1: j counts the ones that v begins with; they and the zero that ends
		// them are shifted out.
		v := of[0]
		j := bits.LeadingZeros32(^v)
		v <<= j + 1
		// S2: immediate acceptance, or S3: minimize over k uniform numbers. It
		// cannot be foreseen which it is, and a branch that is taken at random
		// costs more than to compute both; only a k above 3, which is needed
		// once in 105 times, has one.
		minimize := atLeast(v, ln2)    // k is 2 or greater
		three := atLeast(v, quantile2) // k is 3 or greater
		k := 2*minimize + three        // 0: immediate acceptance
		least := min(of[1], of[2], of[3]|uint32(three-1))
		if v >= quantile3 {
			for k < uint64(len(quantiles)) && v >= quantiles[k] {
				k++
				least = min(least, of[k])
			}
		}
		rest := uint64(v)
		rest ^= (rest ^ mul(uint64(least), ln2)) & -minimize
		waits[n] = owamp.Interval(mul(uint64(j)*ln2+rest, uint64(mean)))
		n++
		used += int(k) + 1
	}
	return n, used
}

// atLeast returns 1 if v is limit or greater, else 0.
func atLeast(v, limit uint32) uint64 { return (uint64(limit) - 1 - uint64(v)) >> 63 }

// mul multiplies two numbers in units of 2^-32, rounding down, and keeps the
// lower 64 bits.
func mul(x, y uint64) uint64 {
	hi, lo := bits.Mul64(x, y)
	return hi<<32 | lo>>32
}
