package main

import (
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dropCapabilities gives up all capabilities in all threads, for good.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var held [2]unix.CapUserData
	if err := unix.Capget(&header, &held[0]); err != nil {
		return err
	}
	if held[0].Permitted|held[1].Permitted == 0 {
		return nil
	}
	var none [2]unix.CapUserData
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&none)), 0)
	switch errno {
	case 0:
		return nil
	case unix.ENOTSUP: // there may be threads that Go does not know
		return errors.New("this owampd was built with cgo: build it with CGO_ENABLED=0, or start it without capabilities")
	}
	return errno
}
