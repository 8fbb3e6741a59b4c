package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"owl/internal/aside"
	"owl/sessions/policy"
)

// edit changes the file as the options want it. It asks for a pass-phrase when
// nothing else is wrong, and while nothing is locked; what others change in the
// file meanwhile is kept.
func (o *options) edit(ctx context.Context, ask func() ([]byte, error)) error {
	var passphrase []byte
	if !o.remove {
		_, err := o.load()
		if err != nil {
			return err
		}
		if passphrase, err = ask(); err != nil {
			return err
		}
	}
	unlock, err := lock(ctx, o.file)
	if err != nil {
		return err
	}
	defer unlock()
	store, err := o.load()
	if err != nil {
		return err
	}
	if o.remove {
		if !store.Delete(o.user) {
			return fmt.Errorf("Identity '%s' not found", o.user) //nolint:staticcheck // the C suite's words
		}
	} else if err := store.Set(o.user, passphrase); err != nil {
		return err
	}
	return o.save(store)
}

// load reads the file, which is there if it is not to be created.
func (o *options) load() (*policy.Passphrases, error) {
	store, err := policy.LoadPassphrases(o.file)
	switch missing := errors.Is(err, fs.ErrNotExist); {
	case o.create && missing:
		return new(policy.Passphrases), nil
	case o.create:
		return nil, fmt.Errorf("-n option specified: %s exists", o.file)
	case missing:
		return nil, fmt.Errorf("Can't open '%s': no such file or directory. See -n option?", o.file) //nolint:staticcheck // the C suite's words
	}
	return store, err
}

// save puts the store in place of the file: nobody reads half of it, and what
// fails leaves the file as it was. Whose it is it stays, also that of a group of
// its own, which a daemon without privileges may read it by.
func (o *options) save(store *policy.Passphrases) error {
	f, err := aside.Replace(o.file, "pfstore")
	if err != nil {
		return err
	}
	defer f.Close()
	f.Perm = 0o600
	if info, err := os.Stat(o.file); err == nil {
		if owner, ok := info.Sys().(*syscall.Stat_t); ok {
			if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
				return fmt.Errorf("leaving %s to its owner: %w", o.file, err)
			}
		}
		if store.Exposed() == nil {
			f.Perm |= info.Mode() & 0o040
		}
	}
	if _, err := store.WriteTo(f); err != nil {
		return err
	}
	return f.Commit()
}

// lock waits until no other pfstore changes files where path leads to, and keeps
// them from it until unlock is called. It locks the directory, which leaves no
// trace there. Where directories cannot be locked, on NFS for one, nobody waits.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	locked := make(chan error)
	go func() {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX)
		for errors.Is(err, unix.EINTR) {
			err = unix.Flock(int(dir.Fd()), unix.LOCK_EX)
		}
		select {
		case locked <- err:
		case <-ctx.Done():
			dir.Close() // and with it the lock, for which nobody waits any more
		}
	}()
	select {
	case err = <-locked:
		if err == nil || errors.Is(err, unix.EBADF) || errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.EOPNOTSUPP) {
			return func() { dir.Close() }, nil
		}
		dir.Close()
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return nil, fmt.Errorf("locking %s: %w", dir.Name(), err)
}
