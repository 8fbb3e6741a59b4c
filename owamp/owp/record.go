package owp

import (
	"encoding/binary"

	"owl/owamp"
)

// Lengths of a record in octets. That of version 3 is the one that Fetch-Session
// carries, and [owamp.ParseRecord] reads it.
const (
	recordSize   = owamp.RecordSize
	recordSizeV2 = 24 // and of version 0
)

// unknownTTL stands where a file has none.
const unknownTTL = 255

// parseRecordV2 reads a record of the versions before 3, which have the same
// fields in another order, and no TTL.
func parseRecordV2(b *[recordSizeV2]byte) (owamp.Record, error) {
	r := owamp.Record{
		Seq:     binary.BigEndian.Uint32(b[0:]),
		Sent:    owamp.Timestamp(binary.BigEndian.Uint64(b[4:])),
		SentErr: owamp.ErrorEstimate(binary.BigEndian.Uint16(b[12:])),
		Recv:    owamp.Timestamp(binary.BigEndian.Uint64(b[14:])),
		RecvErr: owamp.ErrorEstimate(binary.BigEndian.Uint16(b[22:])),
		TTL:     unknownTTL,
	}
	return r, r.Validate()
}
