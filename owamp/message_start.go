package owamp

// Lengths in octets.
const (
	StartSessionsSize = 32
	StartAckSize      = 32
)

// StartSessions asks the server to start every session that was accepted on
// this connection (RFC 4656 section 3.7):
//
//	 0  2       u8
//	 1  MBZ[15]
//	16  HMAC[16]
type StartSessions struct{}

// Append appends the 32 octets of a Start-Sessions to b.
func (StartSessions) Append(b []byte) []byte {
	return appendZeros(append(b, byte(CommandStartSessions)), StartSessionsSize-1)
}

// ParseStartSessions refuses another command.
func ParseStartSessions(b *[StartSessionsSize]byte) (StartSessions, error) {
	return StartSessions{}, CommandStartSessions.check(b[0])
}

// A StartAck is the server's answer to Start-Sessions (RFC 4656 section 3.7):
//
//	 0  Accept  u8
//	 1  MBZ[15]
//	16  HMAC[16]
type StartAck struct{ Accept Accept }

// Append appends the 32 octets of a to b.
func (a StartAck) Append(b []byte) []byte {
	return appendZeros(append(b, byte(a.Accept)), StartAckSize-1)
}

// ParseStartAck reads a Start-Ack; it refuses an accept code that RFC 4656
// does not define.
func ParseStartAck(b *[StartAckSize]byte) (StartAck, error) {
	a, err := parseAccept(b[0])
	return StartAck{a}, err
}
