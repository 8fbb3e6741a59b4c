package main

import (
	"errors"
	"fmt"
	"os"

	"owl/internal/privilege"
)

// identify looks up the user and the group of the options. A user alone brings
// its own group. Only root, whom euid tells, can become another, and must, unless
// the options insist on root.
func (o *options) identify(euid int) (privilege.Identity, error) {
	id := privilege.Identity{UID: euid, GID: os.Getegid(), Change: euid == 0 && (o.user != "" || o.group != "")}
	if euid != 0 {
		if o.user != "" || o.group != "" {
			o.remark("user and group have no effect: only root can become another")
		}
		return id, nil
	}
	var err error
	if o.user != "" {
		if id.UID, id.GID, err = privilege.LookupUser(o.user); err != nil {
			return id, fmt.Errorf("Invalid user/-U option: %w", err) //nolint:staticcheck // the C suite's words
		}
	}
	if o.group != "" {
		if id.GID, err = privilege.LookupGroup(o.group); err != nil {
			return id, fmt.Errorf("Invalid user/-G option: %w", err) //nolint:staticcheck // the C suite's words
		}
	}
	if id.UID == 0 && !o.rootFolly {
		return id, errors.New("Running owampd as root is folly! Use the -U option! (or allow root with the -f option)") //nolint:staticcheck // the C suite's words
	}
	return id, nil
}
