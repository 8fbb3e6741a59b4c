package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"owl/internal/aside"
)

// Backup writes the archive as it is now into a new file, which is an archive of its
// own, while it is read and written. The file has its name once it is whole and on
// the disk. Of PostgreSQL there is no file to write: its own pg_dump does that, or
// [Store.Export].
func (s *Store) Backup(ctx context.Context, path string) error {
	d, ok := s.dialect.(*sqlite)
	if !ok {
		return fmt.Errorf("backup of %s: an archive in PostgreSQL is backed up by pg_dump, or by owarchive export", s.name)
	}
	if err := d.backup(ctx, path); err != nil {
		return fmt.Errorf("backup of %s into %s: %w", s.name, path, err)
	}
	return nil
}

// backup copies the file into another one that is not there yet.
func (d *sqlite) backup(ctx context.Context, path string) (err error) {
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = errors.New("there is a file of this name: want none")
		}
		return err
	}
	f, err := aside.Create(filepath.Dir(path), "owarchive")
	if err != nil {
		return err
	}
	f.Perm = 0o600 // as the archive has it
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := d.copyInto(ctx, f.Name()); err != nil {
		return err
	}
	_, err = f.CommitAs(filepath.Base(path))
	return err
}

// copyInto copies the archive into an empty file by a connection of its own, which
// sees it as it is when that begins. The log grows meanwhile.
func (d *sqlite) copyInto(ctx context.Context, path string) error {
	q := url.Values{"_pragma": {fmt.Sprintf("busy_timeout(%d)", patience), "cache_size(-2048)"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Opaque: url.PathEscape(d.path), RawQuery: q.Encode()}).String())
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, "VACUUM INTO ?", path)
	return errors.Join(err, db.Close())
}
