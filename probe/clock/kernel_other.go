//go:build !linux

package clock

import (
	"fmt"
	"runtime"
)

func readKernel() (Kernel, error) {
	return Kernel{}, fmt.Errorf("clock: no way to ask %s how good its clock is", runtime.GOOS)
}
