// Package privilege lets a process that root has started go on as somebody else.
package privilege

import (
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// LookupUser returns the numbers of a user and of its own group. The user is a
// name, or a number behind a minus sign.
func LookupUser(s string) (uid, gid int, err error) {
	u, err := lookup(s, user.Lookup, user.LookupId)
	if err != nil {
		return 0, 0, fmt.Errorf("%s: want the name of a user of this host, or - and its number", s)
	}
	return numbers(u.Uid, u.Gid)
}

// LookupGroup returns the number of a group, which is a name, or a number behind
// a minus sign.
func LookupGroup(s string) (gid int, err error) {
	g, err := lookup(s, user.LookupGroup, user.LookupGroupId)
	if err != nil {
		return 0, fmt.Errorf("%s: want the name of a group of this host, or - and its number", s)
	}
	_, gid, err = numbers("0", g.Gid)
	return gid, err
}

// lookup finds a name, or the number behind a minus sign.
func lookup[T any](s string, byName, byID func(string) (T, error)) (T, error) {
	found, err := byName(s)
	if id, isNumber := strings.CutPrefix(s, "-"); err != nil && isNumber {
		return byID(id)
	}
	return found, err
}

// numbers are those of a user and a group.
func numbers(u, g string) (uid, gid int, err error) {
	uid, err = strconv.Atoi(u)
	if err == nil {
		gid, err = strconv.Atoi(g)
	}
	return uid, gid, err
}

// An Identity is the user and group that a process goes on as.
type Identity struct {
	UID, GID int
	// Change says that it is another than now, or that the groups of now are to
	// be left. Only root can.
	Change bool
}

// Needs are the privileges that a process keeps, because its engine goes on to
// open raw sockets, or to begin real-time threads.
type Needs struct{ RawSockets, RealTime bool }

// Become goes on as id, for good and in all threads, and gives up the
// capabilities that another than root was started with, but for what it needs:
// CAP_NET_RAW for raw sockets, and for real-time threads none but the right to
// those of the least priority (RLIMIT_RTPRIO). What else takes a privilege is
// to be done before.
func (id Identity) Become(n Needs) error {
	var kept uint // the capabilities that are, a bit each
	if n.RawSockets {
		kept |= capNetRaw
	}
	if id.UID != 0 && n.RealTime {
		if err := allowRealTime(); err != nil {
			return fmt.Errorf("a real-time thread to send packets: %w", err)
		}
	}
	if id.Change {
		if kept != 0 {
			if err := keepCapabilities(); err != nil {
				return fmt.Errorf("keeping capabilities: %w", err)
			}
		}
		if err := syscall.Setgroups([]int{id.GID}); err != nil {
			return fmt.Errorf("leaving the groups of root: %w", err)
		}
		if err := syscall.Setgid(id.GID); err != nil {
			return fmt.Errorf("Unable to setgid to %d: %w", id.GID, err) //nolint:staticcheck // the C suite's words
		}
		if err := syscall.Setuid(id.UID); err != nil {
			return fmt.Errorf("Unable to setuid to %d: %w", id.UID, err) //nolint:staticcheck // the C suite's words
		}
	}
	if id.UID == 0 {
		return nil
	}
	if err := dropCapabilities(kept); err != nil {
		return fmt.Errorf("giving up capabilities: %w", err)
	}
	return nil
}
