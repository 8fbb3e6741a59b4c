package cli

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// bindToDevice binds a socket to a network device.
func bindToDevice(raw syscall.RawConn, device string) error {
	var err error
	if e := raw.Control(func(fd uintptr) {
		err = unix.BindToDevice(int(fd), device)
	}); e != nil {
		return e
	}
	if err != nil {
		return fmt.Errorf("binding to device %s: %w", device, err)
	}
	return nil
}
