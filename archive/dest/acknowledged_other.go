//go:build !linux

package dest

import "net"

// acknowledged takes what was written for what has arrived: this system does not
// say.
func acknowledged(*net.TCPConn) (bool, error) { return true, nil }
