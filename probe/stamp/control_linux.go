package stamp

import (
	"encoding/binary"
	"math"
	"os"

	"golang.org/x/sys/unix"

	"owl/owamp"
)

// ControlSize is how many octets of control messages [Enable] brings at most.
const ControlSize = 256

// Enable asks for the control messages that [Parse] understands on the UDP
// socket fd. That it succeeds does not prove that any will come.
func Enable(fd int, ipv6 bool) error {
	options := []struct {
		level, name int
		what        string
	}{
		{unix.IPPROTO_IP, unix.IP_RECVTTL, "IP_RECVTTL"},
		{unix.IPPROTO_IP, unix.IP_RECVTOS, "IP_RECVTOS"},
		{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, "SO_TIMESTAMPNS"},
		{unix.SOL_SOCKET, unix.SO_RXQ_OVFL, "SO_RXQ_OVFL"},
	}
	if ipv6 {
		options[0].level, options[0].name, options[0].what = unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, "IPV6_RECVHOPLIMIT"
		options[1].level, options[1].name, options[1].what = unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, "IPV6_RECVTCLASS"
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, 1); err != nil {
			return os.NewSyscallError("setsockopt "+o.what, err)
		}
	}
	return nil
}

// The layout of a control message (cmsg(3)): its length as a machine word,
// level and type as 32 bits each, then the data. The next one begins at a
// multiple of the word.
const (
	word       = unix.SizeofCmsghdr - 8
	headerSize = unix.SizeofCmsghdr
)

// A message is one control message; with nil data there is none.
type message struct {
	level, kind int32
	data        []byte
}

// next returns the first control message in oob and what follows it. Where the
// lengths do not fit into oob there is none.
func next(oob []byte) (m message, rest []byte) {
	if len(oob) < headerSize {
		return message{}, nil
	}
	n := length(oob)
	if n < headerSize || n > uint64(len(oob)) {
		return message{}, nil
	}
	m.level = int32(binary.NativeEndian.Uint32(oob[word:]))
	m.kind = int32(binary.NativeEndian.Uint32(oob[word+4:]))
	m.data = oob[headerSize:n:n]
	return m, oob[min((n+word-1)&^uint64(word-1), uint64(len(oob))):]
}

// Parse reads the control messages in oob. What it does not know, or what has
// another length than it should, it passes over; where the lengths do not fit
// into oob it stops. It does not allocate.
func Parse(oob []byte) Arrival {
	a := Arrival{TTL: 255}
	for {
		m, rest := next(oob)
		if m.data == nil {
			return a
		}
		a.take(m.level, m.kind, m.data)
		oob = rest
	}
}

func length(oob []byte) uint64 {
	if word == 8 {
		return binary.NativeEndian.Uint64(oob)
	}
	return uint64(binary.NativeEndian.Uint32(oob))
}

// take notes what one control message says. The traffic class of IPv4 is one
// octet; all others are a C int.
func (a *Arrival) take(level, kind int32, data []byte) {
	switch {
	case level == unix.SOL_SOCKET && kind == unix.SO_TIMESTAMPNS:
		a.Time, _ = timeOf(data, len(data))
	case level == unix.SOL_SOCKET && kind == unix.SO_TIMESTAMPING:
		_, a.Card = times(data)
	case level == unix.SOL_SOCKET && kind == unix.SCM_TIMESTAMPING_PKTINFO && len(data) == 16:
		a.Interface = binary.NativeEndian.Uint32(data)
	case level == unix.SOL_SOCKET && kind == unix.SO_RXQ_OVFL && len(data) == 4:
		a.Drops = binary.NativeEndian.Uint32(data)
	case level == unix.IPPROTO_IP && kind == unix.IP_TTL && len(data) == 4,
		level == unix.IPPROTO_IPV6 && kind == unix.IPV6_HOPLIMIT && len(data) == 4:
		a.TTL = uint8(binary.NativeEndian.Uint32(data))
	case level == unix.IPPROTO_IP && kind == unix.IP_TOS && len(data) == 1:
		a.DSCP, a.HasDSCP = data[0]>>2, true
	case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_TCLASS && len(data) == 4:
		a.DSCP, a.HasDSCP = uint8(binary.NativeEndian.Uint32(data))>>2, true
	}
}

// timeOf reads the struct timespec at the begin of data: two 64-bit numbers, or
// two of 32 bits on machines of that size. As the wall clock's it is a Timestamp;
// the clock of a card has an epoch of its own, of which it is so many
// nanoseconds. Both are 0 if there is none.
func timeOf(data []byte, size int) (owamp.Timestamp, int64) {
	var sec, nsec int64
	switch size {
	case 16:
		sec = int64(binary.NativeEndian.Uint64(data))
		nsec = int64(binary.NativeEndian.Uint64(data[8:]))
	case 8:
		sec = int64(int32(binary.NativeEndian.Uint32(data)))
		nsec = int64(int32(binary.NativeEndian.Uint32(data[4:])))
	}
	const longest = math.MaxInt64/1_000_000_000 - 1 // in seconds, what an int64 of nanoseconds holds
	if sec < 0 || sec > longest || nsec < 0 || nsec >= 1e9 || sec == 0 && nsec == 0 {
		return 0, 0
	}
	if sec == 0 { // no wall clock is in 1970
		return 0, nsec
	}
	return owamp.FromUnix(sec, nsec), sec*1e9 + nsec
}

// times reads a struct scm_timestamping: the kernel's stamp, an obsolete one and
// the card's, each a struct timespec that is zero where there is none.
func times(data []byte) (software owamp.Timestamp, card int64) {
	if len(data)%3 != 0 {
		return 0, 0
	}
	n := len(data) / 3
	software, _ = timeOf(data, n)
	_, card = timeOf(data[2*n:], n)
	return software, card
}
