package main

import "golang.org/x/sys/unix"

// raiseDescriptors sees to it that this process may have need descriptors open,
// as far as it may raise the limit, and returns what it may have now.
func raiseDescriptors(need uint64) (limit uint64, known bool) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, false
	}
	if l.Cur >= need {
		return l.Cur, true
	}
	// The soft limit may go up to the hard one; that one who is privileged may
	// raise, too.
	for _, hard := range []uint64{max(l.Max, need), l.Max} {
		raised := unix.Rlimit{Cur: min(max(need, l.Cur), hard), Max: hard}
		if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
			return raised.Cur, true
		}
	}
	return l.Cur, true
}
