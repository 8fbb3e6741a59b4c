package result

import "owl/owamp"

// A RawPacket is an element of raw-packets, as a reader of the document decodes it
// from JSON, in which times and numbers keep all their digits. Recv is zero of a
// packet that was lost.
type RawPacket = rawDocument

// WithPackets returns r with packets, which r has not.
func (r *Result) WithPackets(packets []owamp.Record) *Result {
	c := *r
	c.raw = packets
	return &c
}
