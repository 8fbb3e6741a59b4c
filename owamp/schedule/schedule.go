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
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"owl/owamp"
)

// A Generator yields the waiting times of one session, one after the other,
// without end. A copy of it continues by itself from where the original stands.
type Generator struct {
	block   cipher.Block // keyed with the session identifier; without state
	slots   []owamp.Slot // never written to
	fixed   bool         // all slots are, so that nothing is drawn
	slot    int          // the slot of the next packet
	drawn   uint64       // how many uniform numbers were drawn
	uniform [aes.BlockSize]byte
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
	return &Generator{block: block, slots: slices.Clone(slots), fixed: !drawn}, nil
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
	return owamp.Interval(mul(g.exponential(), uint64(s.Parameter)))
}

// Fixed reports whether all slots are fixed, so that [Generator.Advance] takes no
// time.
func (g *Generator) Fixed() bool { return g.fixed }

// Advance goes n packets on and returns the sum of their waiting times, modulo
// 2^64. It takes about 20 ns a packet, and no time if all slots are [Generator.Fixed].
func (g *Generator) Advance(n uint64) owamp.Interval {
	var sum owamp.Interval
	if g.fixed {
		for _, s := range g.slots {
			sum += s.Parameter
		}
		sum *= owamp.Interval(n / uint64(len(g.slots)))
		n %= uint64(len(g.slots))
	}
	for range n {
		sum += g.Next()
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

// quantiles are Q[k] = sum over i from 1 to k of (ln 2)^i / i! of algorithm S
// in units of 2^-32, for k from 1; Q[1] is ln 2. RFC 4656 section 5 prints
// them.
var quantiles = [...]uint32{
	1:  0xB17217F8,
	2:  0xEEF193F7,
	3:  0xFD271862,
	4:  0xFF9D6DD0,
	5:  0xFFF4CFD0,
	6:  0xFFFEE819,
	7:  0xFFFFE7FF,
	8:  0xFFFFFE2B,
	9:  0xFFFFFFE0,
	10: 0xFFFFFFFE,
	11: 0xFFFFFFFF,
}

// exponential returns the next exponentially distributed number of mean 1, in
// units of 2^-32.
func (g *Generator) exponential() uint64 {
	ln2 := uint64(quantiles[1])
	// S1: j counts the ones that u begins with; they and the zero that ends
	// them are shifted out.
	u := g.next32()
	j := bits.LeadingZeros32(^u)
	u <<= j + 1
	whole := uint64(j) << 32
	// S2: immediate acceptance.
	if u < quantiles[1] {
		return mul(whole, ln2) + uint64(u)
	}
	// S3: minimize over k uniform numbers.
	k := 2
	for k < len(quantiles) && u >= quantiles[k] {
		k++
	}
	v := g.next32()
	for range k - 1 {
		v = min(v, g.next32())
	}
	return mul(whole+uint64(v), ln2)
}

// next32 returns the next uniform number: an encrypted count gives four.
func (g *Generator) next32() uint32 {
	word := g.drawn % 4
	if word == 0 {
		clear(g.uniform[:8])
		binary.BigEndian.PutUint64(g.uniform[8:], g.drawn)
		g.block.Encrypt(g.uniform[:], g.uniform[:])
	}
	g.drawn++
	return binary.BigEndian.Uint32(g.uniform[word*4:])
}

// mul multiplies two numbers in units of 2^-32, rounding down, and keeps the
// lower 64 bits.
func mul(x, y uint64) uint64 {
	hi, lo := bits.Mul64(x, y)
	return hi<<32 | lo>>32
}
