//go:build !linux

package cli

import (
	"fmt"
	"runtime"
	"syscall"
)

func bindToDevice(_ syscall.RawConn, device string) error {
	return fmt.Errorf("binding to device %s: not on %s", device, runtime.GOOS)
}
