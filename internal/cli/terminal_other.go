//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package cli

import (
	"fmt"
	"io"
	"os"
	"runtime"
)

// hideEcho refuses a terminal, where what is typed would be seen.
func hideEcho(in io.Reader) (show func() error, err error) {
	if f, ok := in.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return nil, fmt.Errorf("typing a secret unseen: not on %s", runtime.GOOS)
		}
	}
	return func() error { return nil }, nil
}
