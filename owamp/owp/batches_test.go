package owp

import (
	"errors"
	"slices"
	"testing"

	"owl/owamp"
)

// Files that are read ahead and such as are not yield the same records in
// batches as one by one, from wherever they are read.
func TestBatches(t *testing.T) {
	for _, n := range []int{0, 1, chunk, 3*chunk + 7, readAhead*chunk + 1, (readAhead+3)*chunk + 11} {
		recs := randomRecords(n)
		r := mustParse(t, stored(t, recs, nil))
		for _, from := range []int64{-1, 0, 1, int64(n) / 2, int64(n) - 1, int64(n), int64(n) + 1} {
			var got []owamp.Record
			for some, err := range r.Batches(from) {
				if err != nil || len(some) == 0 {
					t.Fatalf("%d records of %d from %d on: %v", len(some), n, from, err)
				}
				got = append(got, some...)
				clear(some) // it is the caller's
			}
			if want := recs[min(max(from, 0), int64(n)):]; !slices.Equal(got, want) {
				t.Errorf("%d records of %d from %d on, want %d, or others", len(got), n, from, len(want))
			}
		}
	}
}

// A loop may be left whenever, and another one begin.
func TestBatchesLeft(t *testing.T) {
	recs := randomRecords((readAhead + 3) * chunk)
	r := mustParse(t, stored(t, recs, nil))
	for left := range readAhead + 3 {
		n := 0
		for some, err := range r.Batches(0) {
			if err != nil || some[0] != recs[n*chunk] {
				t.Fatalf("batch %d: %v, %v; want %v", n, some[0], err, recs[n*chunk])
			}
			if n++; n > left {
				break
			}
		}
		if n != left+1 {
			t.Errorf("%d batches, want %d", n, left+1)
		}
	}
}

// What is before a damaged record is yielded, then what is wrong, then nothing.
func TestBatchesDamaged(t *testing.T) {
	for _, n := range []int{chunk + 5, (readAhead + 2) * chunk} {
		recs := randomRecords(n)
		b := stored(t, recs, nil)
		r := mustParse(t, b)
		const bad = chunk + 3
		clear(b[r.Offset(bad):][:recordSize])
		var got []owamp.Record
		var failure error
		for some, err := range r.Batches(0) {
			if failure != nil {
				t.Fatal("more comes after an error")
			}
			got, failure = append(got, some...), err
		}
		if !slices.Equal(got, recs[:bad]) {
			t.Errorf("%d records before the damage, want %d", len(got), bad)
		}
		if damage, ok := errors.AsType[*FormatError](failure); !ok || damage.Offset != r.Offset(bad) {
			t.Errorf("%v, want damage at %d", failure, r.Offset(bad))
		}
	}
}
