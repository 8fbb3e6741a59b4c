package owp

import (
	"encoding/binary"
	"fmt"

	"owl/owamp"
)

// Lengths of a record in octets.
const (
	recordSize   = 25
	recordSizeV2 = 24 // and of version 0
)

// unknownTTL stands where a file has none.
const unknownTTL = 255

func decode(b *[recordSize]byte) owamp.Record {
	return owamp.Record{
		Seq:     binary.BigEndian.Uint32(b[0:]),
		SentErr: owamp.ErrorEstimate(binary.BigEndian.Uint16(b[4:])),
		RecvErr: owamp.ErrorEstimate(binary.BigEndian.Uint16(b[6:])),
		Sent:    owamp.Timestamp(binary.BigEndian.Uint64(b[8:])),
		Recv:    owamp.Timestamp(binary.BigEndian.Uint64(b[16:])),
		TTL:     b[24],
	}
}

func decodeV2(b *[recordSizeV2]byte) owamp.Record {
	return owamp.Record{
		Seq:     binary.BigEndian.Uint32(b[0:]),
		Sent:    owamp.Timestamp(binary.BigEndian.Uint64(b[4:])),
		SentErr: owamp.ErrorEstimate(binary.BigEndian.Uint16(b[12:])),
		Recv:    owamp.Timestamp(binary.BigEndian.Uint64(b[14:])),
		RecvErr: owamp.ErrorEstimate(binary.BigEndian.Uint16(b[22:])),
		TTL:     unknownTTL,
	}
}

func encode(b *[recordSize]byte, r *owamp.Record) {
	binary.BigEndian.PutUint32(b[0:], r.Seq)
	binary.BigEndian.PutUint16(b[4:], uint16(r.SentErr))
	binary.BigEndian.PutUint16(b[6:], uint16(r.RecvErr))
	binary.BigEndian.PutUint64(b[8:], uint64(r.Sent))
	binary.BigEndian.PutUint64(b[16:], uint64(r.Recv))
	b[24] = r.TTL
}

// possible reports whether a receiver can have written r: no clock's error is
// zero. It is how a record is told from octets that never reached the disk.
func possible(r *owamp.Record) bool { return r.SentErr.Valid() && r.RecvErr.Valid() }

func checkRecord(r *owamp.Record) error {
	if !possible(r) {
		return fmt.Errorf("record of packet %d with the error estimates %#04x and %#04x: want no multiplier of 0", r.Seq, uint16(r.SentErr), uint16(r.RecvErr))
	}
	return nil
}
