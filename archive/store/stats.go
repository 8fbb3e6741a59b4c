package store

import (
	"context"
)

// Stats are figures of a store, for its metrics.
type Stats struct {
	Measurements int64 // metadata that are there
	// What was done since the store was opened: writes, those that repeated what
	// was there, those that were refused or failed; values in the first; and
	// transactions, each of which was one wait for the disk.
	Written, Repeated, Refused int64
	Samples                    int64
	Commits                    int64
	Octets                     int64 // on the disk
	Failing                    error // why the last transaction failed; nil: it did not
}

// Stats returns the figures of now.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	st := Stats{
		Written: s.counts.written.Load(), Repeated: s.counts.repeated.Load(), Refused: s.counts.refused.Load(),
		Samples: s.counts.samples.Load(), Commits: s.counts.commits.Load(), Failing: s.failed(),
	}
	err := s.reader(ctx).query(func(r row) error { return r.Scan(&st.Measurements) }, "SELECT count(*) FROM metadata")
	if err == nil {
		st.Octets, err = s.Size(ctx)
	}
	return st, err
}

// Size returns how many octets the archive has on the disk, where its database
// tells.
func (s *Store) Size(ctx context.Context) (int64, error) { return s.dialect.size(ctx) }

// Check returns why the store does not work, as far as that is known: the last
// transaction failed, or it cannot be read.
func (s *Store) Check(ctx context.Context) error {
	if err := s.failed(); err != nil {
		return err
	}
	var n int
	return s.reader(ctx).query(func(r row) error { return r.Scan(&n) }, "SELECT count(*) FROM keys")
}

func (s *Store) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failing
}
