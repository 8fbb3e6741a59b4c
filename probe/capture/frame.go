package capture

import "owl/owamp"

// A Direction is where a frame went, as the kernel has it (packet(7)).
type Direction uint8

// The directions that matter here; there are others.
const (
	Received Direction = 0 // sent to this host
	Sent     Direction = 4 // sent by this host
)

// A Frame is a packet as a [Ring] has it, from the header of the network layer
// on.
type Frame struct {
	Data      []byte // valid until the next one is read; shorter than the frame if that was too long
	Length    int    // of the frame, in octets
	Type      uint16 // Ethernet type of Data
	Direction Direction
	Time      owamp.Timestamp // of arrival, or of being handed to the interface, by the kernel's wall clock
	// Sound says that the checksum of the transport layer need not be checked:
	// the interface has done so, or the frame has never left this host and has
	// none.
	Sound bool
	// HasTag says that the kernel has taken a VLAN tag off the frame: TagType is
	// its Ethernet type, Tag the rest of it.
	HasTag       bool
	TagType, Tag uint16
	Link         uint16  // kind of the link, ARPHRD_…
	Address      [8]byte // of the link's sender
	AddressSize  uint8
}
