//go:build linux || darwin

package store

import (
	"math"

	"golang.org/x/sys/unix"
)

// diskFree returns how many octets the disk of a folder has left for who runs
// this.
func diskFree(dir string) (int64, bool) {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0, false
	}
	return int64(min(uint64(st.Bsize)*st.Bavail, math.MaxInt64)), true
}
