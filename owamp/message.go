package owamp

import "fmt"

// BlockSize is the unit of OWAMP-Control, in octets: every message is a whole
// number of blocks, and from Request-Session on its last one is an HMAC block.
//
// Append methods leave the HMAC block zero, which is how open mode sends it,
// and parsers do not look at it: sealing and checking it is the work of who
// owns the connection's keys.
const BlockSize = 16

// A Command is the first octet of what either side sends unasked once the
// connection is set up (RFC 4656 section 3.4).
type Command uint8

const (
	CommandRequestSession Command = 1
	CommandStartSessions  Command = 2
	CommandStopSessions   Command = 3
	CommandFetchSession   Command = 4
)

func (c Command) String() string {
	switch c {
	case CommandRequestSession:
		return "Request-Session"
	case CommandStartSessions:
		return "Start-Sessions"
	case CommandStopSessions:
		return "Stop-Sessions"
	case CommandFetchSession:
		return "Fetch-Session"
	}
	return fmt.Sprintf("command %d", uint8(c))
}

// check refuses a message whose first octet is not c.
func (c Command) check(octet byte) error {
	if Command(octet) != c {
		return fmt.Errorf("first octet %d, want %d for %v", octet, uint8(c), c)
	}
	return nil
}

// parseAccept reads an Accept field.
func parseAccept(octet byte) (Accept, error) {
	if a := Accept(octet); a.Valid() {
		return a, nil
	}
	return 0, fmt.Errorf("accept code %d, want 0 to %d", octet, uint8(acceptGreatest))
}

// appendZeros appends n octets that must be zero, are unused, or will hold an
// HMAC.
func appendZeros(b []byte, n int) []byte { return append(b, make([]byte, n)...) }
