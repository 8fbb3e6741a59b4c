package probe

import "fmt"

// A Capture is how an [Engine] receives packets.
type Capture uint8

const (
	// CaptureUDP reads the UDP sockets of the ports.
	CaptureUDP Capture = iota
	// CaptureRaw takes packets from a packet ring of the interface that a
	// port's address belongs to, which all of the interface's ports share (see
	// package capture), and which needs CAP_NET_RAW. It costs less for each
	// packet, and passes by what the host's firewall does.
	CaptureRaw
)

var captures = [...]string{CaptureUDP: "udp", CaptureRaw: "raw"}

// ParseCapture reads what [Capture.String] returns: udp or raw.
func ParseCapture(s string) (Capture, error) {
	for c, name := range captures {
		if s == name {
			return Capture(c), nil
		}
	}
	return 0, fmt.Errorf("capture %q: want udp or raw", s)
}

// String returns the name of the way to receive.
func (c Capture) String() string {
	if int(c) < len(captures) {
		return captures[c]
	}
	return fmt.Sprintf("capture %d", uint8(c))
}
