package histogram

import (
	"bytes"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

func encode(t testing.TB, h *Live) []byte {
	t.Helper()
	b, err := h.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLiveEncoding(t *testing.T) {
	rng := rand.New(rand.NewPCG(21, 22))
	for n := range 60 {
		values := samples(rng, n)
		if n%5 == 4 {
			values = append(values, math.MinInt64, math.MaxInt64, 0)
		}
		h := insertAll(values)
		b, err := h.AppendBinary([]byte("before"))
		if err != nil || !bytes.HasPrefix(b, []byte("before")) {
			t.Fatalf("AppendBinary: % x, %v", b, err)
		}
		back := insertAll([]int64{1, -2, 3}) // to be overwritten
		if err := back.UnmarshalBinary(b[len("before"):]); err != nil {
			t.Fatal(err)
		}
		if *back != *h {
			t.Fatalf("%v come back as another histogram", values)
		}
	}
}

func TestLiveEncodingIsSmall(t *testing.T) {
	var h Live
	for i := range 100000 {
		h.Insert(2_000_000 + int64(i))
	}
	// 7 bins of 8,192 to 16,384 ns, 3 or 4 octets each, and the head.
	if b := encode(t, &h); len(b) > 64 {
		t.Errorf("%d octets for values in a handful of bins", len(b))
	}
	if b := encode(t, new(Live)); !bytes.Equal(b, []byte{1, 0}) {
		t.Errorf("an empty histogram is % x, want 01 00", b)
	}
}

func TestLiveDamagedEncoding(t *testing.T) {
	good := encode(t, insertAll([]int64{3, 5, 5, -7}))
	for n := range good {
		if err := new(Live).UnmarshalBinary(good[:n]); err == nil || !strings.Contains(err.Error(), "ends early") {
			t.Errorf("the first %d of %d octets: error %v, want that it ends early", n, len(good), err)
		}
	}
	for name, tt := range map[string]struct {
		b    []byte
		want string
	}{
		"version":            {[]byte{2, 0}, "version 2, want 1"},
		"trailing octets":    {append(bytes.Clone(good), 0), "1 octets too many"},
		"minimum > maximum":  {[]byte{1, 1, 10, 6, 0, 5, 0, 1}, "minimum 5 is above maximum 3"},
		"count of 0":         {[]byte{1, 1, 6, 6, 0, 3, 0, 0}, "count of 0"},
		"bin beyond maximum": {[]byte{1, 2, 6, 10, 0, 8, 0, 1, 3, 1}, "bin 2 of 2"},
		"bin twice":          {[]byte{1, 2, 6, 10, 0, 8, 0, 1, 0, 1}, "bin 2 of 2"},
		"no maximum":         {[]byte{1, 1, 6, 10, 0, 3, 0, 1}, "maximum's bin"},
		"sum":                {[]byte{1, 1, 6, 6, 0, 4, 0, 1}, "the sum is not"},
		"long varint":        {[]byte{1, 0x80, 0}, "not well formed"},
		"endless varint":     {append([]byte{1}, bytes.Repeat([]byte{0xff}, 11)...), "not well formed"},
	} {
		h := insertAll([]int64{1})
		if err := h.UnmarshalBinary(tt.b); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tt.want)
		}
		if *h != (Live{}) {
			t.Errorf("%s: the histogram is not empty after the error", name)
		}
	}
}

func FuzzLiveUnmarshal(f *testing.F) {
	rng := rand.New(rand.NewPCG(23, 24))
	for n := range 8 {
		f.Add(encode(f, insertAll(samples(rng, n))))
	}
	f.Add(encode(f, insertAll([]int64{math.MinInt64, math.MaxInt64})))
	var h, again Live // reused: they are large
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := h.UnmarshalBinary(b); err != nil {
			return
		}
		out := encode(t, &h)
		if !bytes.Equal(out, b) {
			t.Fatalf("% x is written again as % x", b, out)
		}
		if q := h.Quantile(0.5); q < h.Min() || q > h.Max() {
			t.Fatalf("the median %d is not between %d and %d", q, h.Min(), h.Max())
		}
		if m := h.Mean(); m < h.Min() || m > h.Max() {
			t.Fatalf("the mean %d is not between %d and %d", m, h.Min(), h.Max())
		}
		if err := again.UnmarshalBinary(out); err != nil {
			t.Fatal(err)
		}
		again.Merge(&h)
		again.Reset()
	})
}
