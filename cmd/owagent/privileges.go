package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"owl/archive/store"
	"owl/internal/agentfile"
	"owl/internal/privilege"
)

// identify looks up who the agent of cfg goes on as. Only root, whom euid tells,
// can become another.
func identify(cfg *agentfile.Config, euid int) (id privilege.Identity, notes []string, err error) {
	id = privilege.Identity{UID: euid, GID: os.Getegid()}
	switch {
	case euid != 0 && cfg.RunAs != "":
		return id, []string{"run_as: has no effect: only root can become another"}, nil
	case cfg.RunAs == "" && euid == 0 && cfg.Server != nil:
		return id, []string{"server: this process is root, and stays so: want run_as, a user of its own"}, nil
	case cfg.RunAs == "":
		return id, nil, nil
	}
	id.Change = true
	user, group, other := strings.Cut(cfg.RunAs, ":")
	if id.UID, id.GID, err = privilege.LookupUser(user); err == nil && other {
		id.GID, err = privilege.LookupGroup(group)
	}
	if err != nil {
		return id, nil, fmt.Errorf("run_as: %w", err)
	}
	return id, nil, nil
}

// become has the agent go on as id, who may ask at the socket from then on. A
// process that has nobody to become keeps what it has.
func become(id privilege.Identity, cfg *agentfile.Config, socket string) error {
	if !id.Change {
		return nil
	}
	if err := os.Chown(socket, id.UID, id.GID); err != nil {
		return err
	}
	if cfg.Archive != nil && makesResults(cfg) || len(cfg.Archiving.Archives)+len(defaultArchives(cfg)) > 0 {
		if err := makeDirectory(id, queueConfig(cfg).Path); err != nil {
			return fmt.Errorf("queue: %w", err)
		}
	}
	if cfg.Archive != nil && !store.IsURL(cfg.Archive.Store) {
		if err := makeDirectory(id, cfg.Archive.Store); err != nil {
			return fmt.Errorf("archive: %w", err)
		}
	}
	return id.Become(cfg.Engine.Needs())
}

// makeDirectory makes the directory of a file, if there is none, for who the agent
// goes on as.
func makeDirectory(id privilege.Identity, file string) error {
	dir := filepath.Dir(file)
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.Chown(dir, id.UID, id.GID)
}
