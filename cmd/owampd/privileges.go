package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"owl/internal/cli"
	"owl/probe"
)

// An identity is the user and group that owampd runs as.
type identity struct {
	uid, gid int
	change   bool // it is another than now, or its groups are to be left
}

// identify looks up the user and the group of the options: names, or numbers
// behind a minus sign. A user alone brings its own group. Only root, whom euid
// tells, can become another, and must, unless the options insist on root.
func (o *options) identify(euid int) (identity, error) {
	id := identity{euid, os.Getegid(), euid == 0 && (o.user != "" || o.group != "")}
	if euid != 0 {
		if o.user != "" || o.group != "" {
			o.remark("user and group have no effect: only root can become another")
		}
		return id, nil
	}
	if o.user != "" {
		u, err := lookup(o.user, user.Lookup, user.LookupId)
		if err != nil {
			return id, fmt.Errorf("Invalid user/-U option: %s: want the name of a user of this host, or - and its number", o.user) //nolint:staticcheck // the C suite's words
		}
		if id.uid, id.gid, err = numbers(u.Uid, u.Gid); err != nil {
			return id, err
		}
	}
	if o.group != "" {
		g, err := lookup(o.group, user.LookupGroup, user.LookupGroupId)
		if err != nil {
			return id, fmt.Errorf("Invalid user/-G option: %s: want the name of a group of this host, or - and its number", o.group) //nolint:staticcheck // the C suite's words
		}
		if _, id.gid, err = numbers("0", g.Gid); err != nil {
			return id, err
		}
	}
	if id.uid == 0 && !o.rootFolly {
		return id, errors.New("Running owampd as root is folly! Use the -U option! (or allow root with the -f option)") //nolint:staticcheck // the C suite's words
	}
	return id, nil
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

// become goes on as id, for good and in all threads, and gives up the
// capabilities that another than root was started with: all that needs one has
// been done, but for what the engine does.
func (id identity) become(engine cli.EngineOptions) error {
	var kept uint // the capabilities that are, a bit each
	if engine.Raw() {
		kept |= capNetRaw
	}
	if id.uid != 0 && engine.Pacing == probe.PacingPrecise {
		if err := allowRealTime(); err != nil {
			return fmt.Errorf("a real-time thread for --pacing precise: %w", err)
		}
	}
	if id.change {
		if kept != 0 {
			if err := keepCapabilities(); err != nil {
				return fmt.Errorf("keeping capabilities: %w", err)
			}
		}
		if err := syscall.Setgroups([]int{id.gid}); err != nil {
			return fmt.Errorf("leaving the groups of root: %w", err)
		}
		if err := syscall.Setgid(id.gid); err != nil {
			return fmt.Errorf("Unable to setgid to %d: %w", id.gid, err) //nolint:staticcheck // the C suite's words
		}
		if err := syscall.Setuid(id.uid); err != nil {
			return fmt.Errorf("Unable to setuid to %d: %w", id.uid, err) //nolint:staticcheck // the C suite's words
		}
	}
	if id.uid == 0 {
		return nil
	}
	if err := dropCapabilities(kept); err != nil {
		return fmt.Errorf("giving up capabilities: %w", err)
	}
	return nil
}
