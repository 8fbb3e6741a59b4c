package owp

import (
	"bufio"
	"fmt"
	"io"
	"iter"

	"owl/owamp"
)

// Store writes a whole file in one go, as the reference writes one that it has
// fetched: the skip ranges before the records, and the offset of both the same
// if there are none. It takes h.NumRecords for the number of recs and len(skips)
// for that of skips, and always writes version 3. When Store fails w holds part
// of a file.
func Store(w io.Writer, h *Header, skips []owamp.SkipRange, recs iter.Seq2[owamp.Record, error]) error {
	if err := checkSpec(&h.Spec); err != nil {
		return err
	}
	if len(skips) > maxSkips {
		return fmt.Errorf("%d skip ranges, want at most %d", len(skips), maxSkips)
	}
	head := *h
	head.NumSkips = uint32(len(skips))
	begin := sizeOfHeader(len(h.Spec.Slots))
	b := bufio.NewWriterSize(w, chunk*recordSize)
	octets := appendHeader(nil, &head, begin, begin+int64(len(skips))*skipSize)
	if _, err := b.Write(appendSkips(octets, skips)); err != nil {
		return err
	}
	var n uint32
	for r, err := range recs {
		if err == nil {
			err = checkRecord(&r)
		}
		if err != nil {
			return err
		}
		if n == h.NumRecords {
			return fmt.Errorf("more than %d records, want as many as the header says", n)
		}
		n++
		var record [recordSize]byte
		encode(&record, &r)
		if _, err := b.Write(record[:]); err != nil {
			return err
		}
	}
	if n != h.NumRecords {
		return fmt.Errorf("%d records, want %d as the header says", n, h.NumRecords)
	}
	return b.Flush()
}
