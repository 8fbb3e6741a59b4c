package main

import (
	"cmp"
	"errors"
	"fmt"
	"sync"

	"owl/internal/agentfile"
	"owl/internal/cli"
	"owl/owamp"
	"owl/owamp/control"
	"owl/sessions/policy"
)

// A keyring has the pass-phrases of the streams' users. Streams look up theirs
// for each connection, so that they go on when it changes.
type keyring struct {
	mu     sync.Mutex
	stores keyFiles
}

// keyFiles are files of pass-phrases by their names.
type keyFiles map[string]*policy.Passphrases

// sealed are the modes that want pass-phrases.
const sealed = owamp.ModeAuthenticated | owamp.ModeEncrypted

// readKeys reads the files of pass-phrases, each once, and checks that they
// have those of all users. What others can read, too, is no error: notes say it.
func readKeys(cfg *agentfile.Config) (all keyFiles, notes []string, err error) {
	all = make(keyFiles)
	told := make(map[string]bool)
	var errs []error
	fail := func(err error) {
		if !told[err.Error()] {
			told[err.Error()] = true
			errs = append(errs, err)
		}
	}
	for i := range cfg.Streams {
		c := &cfg.Streams[i].Client
		if c.User == "" {
			continue
		}
		store, read := all[c.KeyFile]
		if !read {
			var err error
			if store, err = policy.LoadPassphrases(c.KeyFile); err != nil {
				fail(fmt.Errorf("key_file: %w", err))
			} else if err := store.Exposed(); err != nil {
				notes = append(notes, err.Error())
			}
			all[c.KeyFile] = store
		}
		if store != nil && !store.Has(c.User) {
			fail(noKey(c))
		}
	}
	return all, notes, errors.Join(errs...)
}

// set replaces what the keyring has.
func (k *keyring) set(stores keyFiles) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stores = stores
}

// get returns the pass-phrase of a user of c.
func (k *keyring) get(c *cli.ClientOptions) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if store := k.stores[c.KeyFile]; store != nil {
		if passphrase, ok := store.Get(c.User); ok {
			return passphrase, nil
		}
	}
	return nil, noKey(c)
}

func noKey(c *cli.ClientOptions) error {
	return fmt.Errorf("key_file %s: want a pass-phrase of user %q", c.KeyFile, c.User)
}

// client returns how to talk over the control connections of c.
func (k *keyring) client(c *cli.ClientOptions) control.ClientConfig {
	cfg := control.ClientConfig{Modes: cmp.Or(c.Modes, sealed|owamp.ModeOpen), MaxCount: c.MaxCount}
	if c.User == "" {
		cfg.Modes &= owamp.ModeOpen
		return cfg
	}
	cfg.User = c.User
	cfg.Passphrase = func() ([]byte, error) { return k.get(c) }
	return cfg
}
