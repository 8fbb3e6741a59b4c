package owp

import (
	"errors"
	"fmt"
	"math"
	"os"

	"owl/owamp"
)

// Repair completes a file that a [Writer] has left in the middle, because its
// process was killed or its machine went down. Cut off are a record that is not
// whole and, from the last one before it on, whatever never reached the disk;
// then the file is as after [Writer.FinishIncomplete]. A file that was finished, or whose session
// failed, stays as it is. Repair returns the header that the file has now.
//
// f is open for reading and writing. No Writer may still be at work on it.
func Repair(f *os.File) (*Header, error) {
	r, err := readerOf(f)
	if err != nil {
		return nil, err
	}
	h := r.Header()
	if h.Finished != Incomplete {
		return h, nil
	}
	w := newWriter(f, &h.Spec)
	if h.Version != version3 || h.NumSkips != 0 || r.data != w.data {
		return nil, fmt.Errorf("%s: version %d with %d skip ranges and its records at octet %d: no receiver leaves that, want version %d, none, and %d", f.Name(), h.Version, h.NumSkips, r.data, version3, w.data)
	}
	if r.records > math.MaxUint32 {
		return nil, fmt.Errorf("%s: %d records, want at most %d", f.Name(), r.records, uint32(math.MaxUint32))
	}
	// A record counts when the next one is known to be whole: the one before a
	// damaged one may lie on the same page in part.
	var before owamp.Record
	counts := false
	for rec, err := range r.Records() {
		if _, damaged := errors.AsType[*FormatError](err); damaged {
			counts = false
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		if counts {
			w.count(&before)
		}
		before, counts = rec, true
	}
	if counts {
		w.count(&before)
	}
	if err := w.FinishIncomplete(); err != nil {
		return nil, err
	}
	if r, err = readerOf(f); err != nil {
		return nil, err
	}
	return r.Header(), nil
}
