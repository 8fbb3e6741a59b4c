package netlab

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// snap is how many octets of each packet a tap sees: enough to tell it from
// others.
const snap = 96

// A tap tells when the kernel handed packets to a device. It is a packet socket
// on the device, which gets each packet, with the kernel's stamp, before the
// device does. So when a packet has been read from the device, its stamp is
// there already.
type tap struct {
	fd       int
	buf, oob []byte
	seen     []sighting // not yet read from the device, in order
}

// A sighting is a packet on its way to the device.
type sighting struct {
	head []byte
	at   time.Time
}

// openTap opens a tap of a device of the calling thread's namespace.
func openTap(name string) (*tap, error) {
	dev, err := net.InterfaceByName(name)
	if err != nil {
		return nil, err
	}
	// Of no protocol, it gets nothing until it is bound.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	outgoing := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: skfAdOffPktType},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.PACKET_OUTGOING, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: snap},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}) // in network byte order
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"setsockopt SO_TIMESTAMPNS", func() error {
			return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
		}},
		{"setsockopt SO_RCVBUFFORCE", func() error {
			return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
		}},
		{"setsockopt SO_ATTACH_FILTER", func() error {
			return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
				&unix.SockFprog{Len: uint16(len(outgoing)), Filter: &outgoing[0]})
		}},
		{"bind", func() error {
			return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: dev.Index})
		}},
	} {
		if err := step.do(); err != nil {
			unix.Close(fd)
			return nil, os.NewSyscallError(step.name, err)
		}
	}
	return &tap{fd: fd, buf: make([]byte, snap), oob: make([]byte, 64)}, nil
}

// skfAdOffPktType is where a filter finds whether a packet comes or goes:
// SKF_AD_OFF + SKF_AD_PKTTYPE.
const skfAdOffPktType = 0xffff_f000 + 4

func (t *tap) close() { unix.Close(t.fd) }

// stamp returns when a packet that has been read from the device was handed to
// it; now, if the kernel does not tell.
func (t *tap) stamp(octets []byte) time.Time {
	now := time.Now()
	head := octets[:min(snap, len(octets))]
	for i := 0; i < len(t.seen) || t.look(); i++ {
		if bytes.Equal(t.seen[i].head, head) {
			at := t.seen[i].at
			t.seen = append(t.seen[:0], t.seen[i+1:]...)
			return now.Add(-now.Sub(at)) // with now's monotonic clock
		}
	}
	return now
}

// look takes the next packet from the socket, and reports whether there is one.
func (t *tap) look() bool {
	n, oobn, _, _, err := unix.Recvmsg(t.fd, t.buf, t.oob, unix.MSG_DONTWAIT)
	if err != nil {
		return false
	}
	msgs, err := unix.ParseSocketControlMessage(t.oob[:oobn])
	if err != nil {
		return false
	}
	for _, m := range msgs {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SCM_TIMESTAMPNS && len(m.Data) >= 16 {
			sec, nsec := binary.NativeEndian.Uint64(m.Data), binary.NativeEndian.Uint64(m.Data[8:])
			t.seen = append(t.seen, sighting{bytes.Clone(t.buf[:n]), time.Unix(int64(sec), int64(nsec))})
			return true
		}
	}
	return false
}
