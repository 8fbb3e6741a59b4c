package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"owl/owamp"
)

const (
	// blockSize is the unit in which the kernel hands over frames: room for the
	// longest one. It is a power of two, a multiple of the page's size anywhere.
	blockSize = 1 << 17
	// frameAlign is what the kernel wants to be told of frames that in truth
	// have any length.
	frameAlign = 1 << 11
	// minRetire is the shortest time for which the kernel keeps a block open.
	minRetire = time.Millisecond
)

// RingConfig describes a [Ring].
type RingConfig struct {
	Interface Interface
	// Filter chooses what is taken.
	Filter []bpf.RawInstruction
	// Outgoing says that what the host sends is taken as well.
	Outgoing bool
	// Size of the memory in octets, rounded up to some 128 kB. While there is
	// no room the kernel drops what comes.
	Size int
	// Retire is for how long frames may gather before the kernel hands them
	// over: it does so in blocks, when one is full or this time is over. It
	// is rounded up to milliseconds.
	Retire time.Duration
}

// A Ring is a packet socket whose frames lie in memory that the kernel shares
// (packet_mmap, TPACKET_V3). Its methods must not be called by two goroutines at
// a time, but for [Ring.Stats] and [Ring.SetFilter].
type Ring struct {
	fd     int
	memory []byte
	blocks int
	taken  uint64 // blocks given back so far

	// Of the block that is being read.
	left int // frames
	at   int // the next one's place in memory
}

// RingStats counts the frames that passed the filter.
type RingStats struct {
	Frames uint64 // all of them
	Drops  uint64 // of them those for which there was no room
}

// Available returns nil if the process may open packet sockets, or why not.
func Available() error {
	fd, err := socket()
	if err != nil {
		return err
	}
	return os.NewSyscallError("close", unix.Close(fd))
}

// socket opens a packet socket of no protocol: it takes nothing until it is
// bound.
func socket() (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return -1, fmt.Errorf("packet socket: %w, want the capability CAP_NET_RAW", err)
	}
	if err != nil {
		return -1, fmt.Errorf("packet socket: %w", os.NewSyscallError("socket", err))
	}
	return fd, nil
}

// OpenRing opens a ring in the calling thread's network namespace, which must be
// the interface's. The caller closes it.
func OpenRing(cfg RingConfig) (*Ring, error) {
	fd, err := socket()
	if err != nil {
		return nil, err
	}
	r := &Ring{fd: fd, blocks: max(2, (cfg.Size+blockSize-1)/blockSize)}
	if err := r.open(&cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("packet ring of %s: %w", cfg.Interface.Name, err), r.Close())
	}
	return r, nil
}

// open makes the ring, and binds the socket when all else is done, so that
// nothing is taken that was not chosen.
func (r *Ring) open(cfg *RingConfig) error {
	ignore := 1
	if cfg.Outgoing {
		ignore = 0
	}
	for _, o := range []struct {
		level, name, value int
		what               string
	}{
		{unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3, "PACKET_VERSION"},
		{unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, ignore, "PACKET_IGNORE_OUTGOING"},
		// Without it the kernel might stamp frames only when it copies them.
		{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1, "SO_TIMESTAMPNS"},
	} {
		if err := unix.SetsockoptInt(r.fd, o.level, o.name, o.value); err != nil {
			return os.NewSyscallError("setsockopt "+o.what, err)
		}
	}
	if err := r.SetFilter(cfg.Filter); err != nil {
		return err
	}
	err := unix.SetsockoptTpacketReq3(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &unix.TpacketReq3{
		Block_size:     blockSize,
		Block_nr:       uint32(r.blocks),
		Frame_size:     frameAlign,
		Frame_nr:       uint32(r.blocks * (blockSize / frameAlign)),
		Retire_blk_tov: uint32((max(cfg.Retire, minRetire) + time.Millisecond - 1) / time.Millisecond),
	})
	if err != nil {
		return os.NewSyscallError("setsockopt PACKET_RX_RING", err)
	}
	r.memory, err = unix.Mmap(r.fd, 0, r.blocks*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}) // in network byte order
	return os.NewSyscallError("bind", unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: cfg.Interface.Index}))
}

// SetFilter changes what is taken, from one frame to the next.
func (r *Ring) SetFilter(filter []bpf.RawInstruction) error {
	code := make([]unix.SockFilter, len(filter))
	for i, f := range filter {
		code[i] = unix.SockFilter{Code: f.Op, Jt: f.Jt, Jf: f.Jf, K: f.K}
	}
	return os.NewSyscallError("setsockopt SO_ATTACH_FILTER", unix.SetsockoptSockFprog(r.fd, unix.SOL_SOCKET,
		unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(code)), Filter: unsafe.SliceData(code)}))
}

// FD returns the descriptor of the socket, which is readable when frames have
// been handed over.
func (r *Ring) FD() int { return r.fd }

// Failure returns, and forgets, why the interface gives no frames: it is down, or
// gone. Until it is asked for, the socket counts as readable.
func (r *Ring) Failure() error {
	errno, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil || errno == 0 {
		return err
	}
	return unix.Errno(errno)
}

// Stats returns what has been counted since the last call: the kernel begins
// anew with each. It does not allocate.
func (r *Ring) Stats() (RingStats, error) {
	var s unix.TpacketStatsV3
	size := uint32(unix.SizeofTpacketStatsV3)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(r.fd), unix.SOL_PACKET, unix.PACKET_STATISTICS,
		uintptr(unsafe.Pointer(&s)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return RingStats{}, os.NewSyscallError("getsockopt PACKET_STATISTICS", errno)
	}
	return RingStats{Frames: uint64(s.Packets), Drops: uint64(s.Drops)}, nil
}

// Close gives the memory back and closes the socket.
func (r *Ring) Close() error {
	var err error
	if r.memory != nil {
		err = os.NewSyscallError("munmap", unix.Munmap(r.memory))
		r.memory = nil
	}
	return errors.Join(err, os.NewSyscallError("close", unix.Close(r.fd)))
}

// block returns the header of the block that is read now or next.
func (r *Ring) block() *unix.TpacketHdrV1 {
	const description = unsafe.Offsetof(unix.TpacketBlockDesc{}.Hdr)
	at := int(r.taken%uint64(r.blocks)) * blockSize
	return (*unix.TpacketHdrV1)(unsafe.Pointer(&r.memory[at+int(description)]))
}

// Next reads the next frame that has been handed over, and reports false if there
// is none. It gives the block of the frame before back to the kernel if that was
// its last. It does not allocate.
func (r *Ring) Next(f *Frame) bool {
	for r.left == 0 {
		b := r.block()
		begin := int(r.taken%uint64(r.blocks)) * blockSize
		if r.at != 0 {
			// The kernel looks at the number only after it has begun anew.
			r.at = 0
			atomic.StoreUint32(&b.Num_pkts, 0)
			atomic.StoreUint32(&b.Block_status, unix.TP_STATUS_KERNEL)
			r.taken++
			continue
		}
		if atomic.LoadUint32(&b.Block_status)&unix.TP_STATUS_USER == 0 {
			return false
		}
		r.left, r.at = int(b.Num_pkts), begin+int(b.Offset_to_first_pkt)
	}
	r.left--
	h := (*unix.Tpacket3Hdr)(unsafe.Pointer(&r.memory[r.at]))
	r.read(h, f)
	r.at += int(h.Next_offset)
	return true
}

// read fills in f with the frame whose header is h.
func (r *Ring) read(h *unix.Tpacket3Hdr, f *Frame) {
	const address = (unix.SizeofTpacket3Hdr + unix.TPACKET_ALIGNMENT - 1) &^ (unix.TPACKET_ALIGNMENT - 1)
	link := (*unix.RawSockaddrLinklayer)(unsafe.Pointer(&r.memory[r.at+address]))
	data := r.at + int(h.Net)
	*f = Frame{
		Data:        r.memory[data : data+int(h.Snaplen)],
		Length:      int(h.Len),
		Type:        binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&link.Protocol))[:]),
		Direction:   Direction(link.Pkttype),
		Time:        owamp.FromUnix(int64(h.Sec), int64(h.Nsec)),
		Sound:       h.Status&(unix.TP_STATUS_CSUMNOTREADY|unix.TP_STATUS_CSUM_VALID) != 0,
		HasTag:      h.Status&unix.TP_STATUS_VLAN_VALID != 0,
		TagType:     h.Hv1.Vlan_tpid,
		Tag:         uint16(h.Hv1.Vlan_tci),
		Link:        link.Hatype,
		Address:     link.Addr,
		AddressSize: link.Halen,
	}
}

// Quiet reports whether no frame waits: all have been read, and the block that
// the kernel fills is empty.
func (r *Ring) Quiet() bool {
	b := r.block()
	// In this order: a block that is handed over in between had frames then, or
	// none at all.
	empty := atomic.LoadUint32(&b.Num_pkts) == 0
	return empty && r.left == 0 && atomic.LoadUint32(&b.Block_status)&unix.TP_STATUS_USER == 0
}

// Taken returns how many blocks have been read and given back. What lies in the
// one that the kernel was filling at the time of one call has been read when a
// later call returns more.
func (r *Ring) Taken() uint64 { return r.taken }

// Blocks returns how many blocks the ring has.
func (r *Ring) Blocks() int { return r.blocks }
