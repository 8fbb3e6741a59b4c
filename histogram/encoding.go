package histogram

import (
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

var (
	_ encoding.BinaryAppender    = (*Live)(nil)
	_ encoding.BinaryMarshaler   = (*Live)(nil)
	_ encoding.BinaryUnmarshaler = (*Live)(nil)
)

// liveVersion is the first octet of an encoded Live. After it come, as varints
// (encoding/binary): the number of bins that hold something and, unless there is
// none, minimum, maximum, the sum's upper and lower half, and for each bin,
// ascending, how far it is after the one before it (the first: after the
// minimum's bin) and its count.
const liveVersion = 1

// AppendBinary appends the histogram to b, in a few octets for each bin that
// holds something. It always succeeds.
func (h *Live) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, liveVersion)
	var used uint64
	for range h.used() {
		used++
	}
	b = binary.AppendUvarint(b, used)
	if used == 0 {
		return b, nil
	}
	b = binary.AppendVarint(b, h.min)
	b = binary.AppendVarint(b, h.max)
	b = binary.AppendVarint(b, h.sum.hi)
	b = binary.AppendUvarint(b, h.sum.lo)
	last := place(h.min)
	for i, n := range h.used() {
		b = binary.AppendUvarint(b, uint64(i-last))
		b = binary.AppendUvarint(b, n)
		last = i
	}
	return b, nil
}

// MarshalBinary returns what [Live.AppendBinary] appends.
func (h *Live) MarshalBinary() ([]byte, error) { return h.AppendBinary(nil) }

// UnmarshalBinary replaces the histogram by the one that b holds. It accepts
// only what AppendBinary can have written; after an error the histogram is
// empty.
func (h *Live) UnmarshalBinary(b []byte) error {
	h.Reset()
	if err := h.decode(b); err != nil {
		*h = Live{}
		return fmt.Errorf("histogram: %w", err)
	}
	return nil
}

var errTruncated = errors.New("encoding ends early")

func (h *Live) decode(b []byte) error {
	if len(b) == 0 {
		return errTruncated
	}
	if b[0] != liveVersion {
		return fmt.Errorf("version %d, want %d", b[0], liveVersion)
	}
	d := decoder{b: b[1:]}
	used := d.uvarint()
	if used > 0 {
		h.min, h.max = d.varint(), d.varint()
		h.sum = wide{d.varint(), d.uvarint()}
		if h.min > h.max {
			return fmt.Errorf("minimum %d is above maximum %d", h.min, h.max)
		}
	}
	i, last := place(h.min), place(h.max)
	for k := range used {
		step, n := d.uvarint(), d.uvarint()
		if d.err != nil {
			return d.err
		}
		if (step == 0) != (k == 0) || step > uint64(last-i) || n == 0 {
			return fmt.Errorf("bin %d of %d: %d after the one before it with a count of %d, want bins from the minimum's to the maximum's that hold something", k+1, used, step, n)
		}
		i += int(step)
		var carry uint64
		if h.count, carry = bits.Add64(h.count, n, 0); carry != 0 {
			return errors.New("more than 2^64 values")
		}
		*h.at(i) = n
	}
	switch {
	case d.err != nil:
		return d.err
	case len(d.b) != 0:
		return fmt.Errorf("%d octets too many", len(d.b))
	case used > 0 && i != last:
		return errors.New("no value in the maximum's bin")
	}
	// Mean relies on a sum that so many values can have.
	if h.sum.less(times(h.count, h.min)) || times(h.count, h.max).less(h.sum) {
		return fmt.Errorf("the sum is not one of %d values between %d and %d", h.count, h.min, h.max)
	}
	return nil
}

// decoder reads canonical varints until the first error.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	switch {
	case d.err != nil:
		return 0
	case n == 0:
		d.err = errTruncated
		return 0
	case n < 0, n > 1 && d.b[n-1] == 0:
		d.err = fmt.Errorf("varint % x is not well formed", d.b[:min(len(d.b), binary.MaxVarintLen64)])
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	u := d.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}
