package stamp

import (
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"

	"owl/owamp"
)

// ControlSize is how many octets of control messages [Enable] brings at most.
const ControlSize = 128

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

// Parse reads the control messages in oob. What it does not know, or what has
// another length than it should, it passes over; where the lengths do not fit
// into oob it stops. It does not allocate.
func Parse(oob []byte) Arrival {
	a := Arrival{TTL: 255}
	for len(oob) >= headerSize {
		n := length(oob)
		if n < headerSize || n > uint64(len(oob)) {
			break
		}
		level := int32(binary.NativeEndian.Uint32(oob[word:]))
		kind := int32(binary.NativeEndian.Uint32(oob[word+4:]))
		a.take(level, kind, oob[headerSize:n])
		oob = oob[min((n+word-1)&^uint64(word-1), uint64(len(oob))):]
	}
	return a
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
		a.setTime(data)
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

// setTime reads a struct timespec: two 64-bit numbers, or two of 32 bits on
// machines of that size.
func (a *Arrival) setTime(data []byte) {
	var sec, nsec int64
	switch len(data) {
	case 16:
		sec = int64(binary.NativeEndian.Uint64(data))
		nsec = int64(binary.NativeEndian.Uint64(data[8:]))
	case 8:
		sec = int64(int32(binary.NativeEndian.Uint32(data)))
		nsec = int64(int32(binary.NativeEndian.Uint32(data[4:])))
	}
	if sec > 0 && nsec >= 0 && nsec < 1e9 {
		a.Time = owamp.FromUnix(sec, nsec)
	}
}
