package tstat

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// CullOptions say what is removed.
type CullOptions struct {
	// TTL is how old the mark of a directory must be at least. One that is less
	// than nothing takes marks from the future, too.
	TTL    time.Duration
	Now    time.Time
	DryRun bool // nothing is removed
	Log    *slog.Logger
}

// Cull removes the directories below root, with all that is in them, that have
// been processed for long enough, and returns how many. Those of them that cannot
// be removed are logged, and do not keep the others.
func Cull(ctx context.Context, root string, o *CullOptions) (removed int, err error) {
	failed := 0
	fail := func(dir string, err error) {
		failed++
		o.Log.Error("not removed", "directory", absolute(dir), "error", err)
	}
	var dirs []string
	for dir, err := range walk(root) {
		if err != nil {
			fail(dir, err)
			continue
		}
		info, err := os.Lstat(filepath.Join(dir, markName))
		switch {
		case err == nil && !info.IsDir():
			dirs = append(dirs, dir)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			fail(dir, err)
		}
	}
	for _, dir := range dirs {
		if ctx.Err() != nil {
			return removed, context.Cause(ctx)
		}
		mark := filepath.Join(dir, markName)
		info, err := os.Stat(mark)
		switch {
		case errors.Is(err, fs.ErrNotExist): // it went with one around it
			o.Log.Info("the mark is gone", "file", absolute(mark))
			continue
		case err != nil:
			fail(dir, err)
			continue
		}
		age := o.Now.Sub(info.ModTime())
		switch {
		case age < o.TTL:
			o.Log.Debug("kept", "directory", absolute(dir), "processed", info.ModTime().UTC().Format(time.RFC3339))
		case o.DryRun:
			o.Log.Info("dry run, not removing", "directory", absolute(dir))
		default:
			o.Log.Info("removing", "directory", absolute(dir))
			if err := remove(dir); err != nil {
				fail(dir, err)
				continue
			}
			removed++
		}
	}
	if failed > 0 {
		return removed, fmt.Errorf("directories that were not removed: %d", failed)
	}
	return removed, nil
}

// remove removes a directory and all that is in it, marks last: what is left when
// it is interrupted is not sent once more. Another run may be removing the same.
func remove(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return unlessGone(err)
	}
	if !info.IsDir() {
		return errors.New("want a directory, not a link to one")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return unlessGone(err)
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == markName {
			return unlessGone(err)
		}
		return unlessGone(root.Remove(path))
	})
	if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// unlessGone returns err, unless it says that something is not there any more.
func unlessGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
