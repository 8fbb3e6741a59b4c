package dest

import (
	"net"

	"golang.org/x/sys/unix"
)

// tcpClosed is the state of a connection that was reset (TCP_CLOSE of the kernel).
const tcpClosed = 7

// acknowledged reports whether the other host has acknowledged all that was
// written to a connection.
func acknowledged(conn *net.TCPConn) (bool, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false, err
	}
	waiting := 0
	var info *unix.TCPInfo
	var failed error
	err = raw.Control(func(fd uintptr) {
		if waiting, failed = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); failed == nil {
			info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		}
	})
	switch {
	case err != nil:
		return false, err
	case failed != nil:
		return false, failed
	case info.State == tcpClosed:
		return false, unix.ECONNRESET
	}
	return waiting == 0, nil
}
