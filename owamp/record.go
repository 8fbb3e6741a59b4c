package owamp

// RecordFlags tell of a [Record] what its numbers do not.
type RecordFlags uint8

const (
	// FlagUserStamp: the kernel gave no receive stamp, so Recv was taken when
	// the packet was read, and RecvErr says so.
	FlagUserStamp RecordFlags = 1 << iota
	// FlagDuplicate: a packet with this sequence number had already arrived.
	FlagDuplicate
	// FlagDSCP: the field DSCP was read from the packet.
	FlagDSCP
	// FlagCardStamp: Recv is the network card's stamp, turned into a time of the
	// wall clock, and not the kernel's.
	FlagCardStamp
)

// A Record is what is known of one test packet, received or lost: at most 32
// octets without a pointer, so that batches of them cost the collector nothing.
//
// A lost packet has Recv zero and its scheduled time in Sent (RFC 4656 section
// 4.2).
type Record struct {
	Sent, Recv       Timestamp
	Seq              uint32
	SentErr, RecvErr ErrorEstimate
	TTL              uint8 // IP TTL or hop limit on arrival, 255 when unknown
	DSCP             uint8 // on arrival; see FlagDSCP
	Flags            RecordFlags
}

// Lost reports whether the packet never arrived.
func (r *Record) Lost() bool { return r.Recv == 0 }
