package store

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"owl/archive/series"
)

// Options say how a store works. The zero value does.
type Options struct {
	// Now is the clock by which event types are updated; nil: [time.Now].
	Now func() time.Time
	// Log gets a line when the store cannot be written, and when it can be
	// again; nil: nobody does.
	Log *slog.Logger
	// Await has a server's database that is away be opened nevertheless. Until it
	// is there, for which the store looks by itself, all that needs it fails.
	Await bool
}

// A Store is an archive's data. It may be used by many goroutines, and one SQLite
// file or database by many processes, at once.
type Store struct {
	options Options
	name    string // for people: without a password
	dialect dialect
	writers []*writer
	closing chan struct{}
	ready   chan struct{}  // closed when the schema is what this program wants
	ended   sync.WaitGroup // writers, and what is done beside
	once    sync.Once
	closed  error // what came of it
	trusted trusted
	pruned  pruned

	mu      sync.Mutex
	failing error // why the last transaction failed; nil: it did not
	counts  counts
}

// counts are what was done since the store was opened.
type counts struct {
	written, repeated, refused, samples, commits atomic.Int64
}

var (
	// ErrUnknownKey says that there is no measurement of a metadata key.
	ErrUnknownKey = errors.New("there is no measurement with this metadata key")
	// ErrClosed says that the store is closed.
	ErrClosed = errors.New("the archive is closed")
)

// An UnregisteredError says that a measurement has no such event type.
type UnregisteredError struct{ Event series.EventType }

func (e *UnregisteredError) Error() string {
	return fmt.Sprintf("event type %s is not registered for this measurement", e.Event)
}

// A ConflictError says that a series has a value at a second already, in seconds
// since 1970. The text is esmond's.
type ConflictError struct {
	Event series.EventType
	Time  int64
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("Time series value already exists with event type %s at time %d", e.Event, e.Time)
}

// Open opens an archive, or makes it: the file of a path, or the database of a URL
// that begins with postgres:// or postgresql://. An older schema becomes the one
// of this program; a newer one is refused, as is what belongs to something else.
func Open(ctx context.Context, address string, o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{options: o, closing: make(chan struct{}), ready: make(chan struct{})}
	var err error
	if IsURL(address) {
		s.name, s.dialect, err = openPostgreSQL(address)
	} else {
		s.name = address
		s.dialect, err = openSQLite(address)
	}
	if err != nil {
		return nil, fmt.Errorf("archive %s: %w", s.name, err)
	}
	err = s.migrate(ctx)
	switch {
	case err == nil:
		close(s.ready)
	case o.Await && s.unreached(err) && ctx.Err() == nil:
		s.tell(err)
		s.ended.Go(func() { s.await(err) })
	default:
		return nil, fmt.Errorf("archive %s: %w", s.name, errors.Join(err, s.dialect.close()))
	}
	for range s.dialect.writers() {
		w := &writer{store: s, jobs: make(chan *job, jobsAtOnce), ended: make(chan struct{})}
		s.writers = append(s.writers, w)
		s.ended.Go(w.run)
	}
	s.ended.Go(func() { s.dialect.tend(s) })
	return s, nil
}

// IsURL reports whether an address is that of a database, and not a file's path.
func IsURL(address string) bool {
	return strings.HasPrefix(address, "postgres://") || strings.HasPrefix(address, "postgresql://")
}

// Close waits for what is being written, and closes the archive.
func (s *Store) Close() error {
	s.once.Do(func() {
		close(s.closing)
		s.ended.Wait()
		s.closed = s.dialect.close()
	})
	return s.closed
}

// String returns where the archive is, without a password.
func (s *Store) String() string { return s.name }

// A key is that of a measurement's metadata: a UUID.
type key [16]byte

// parseKey reads the 32 lower-case hexadecimal digits of a key; false: it is none.
func parseKey(text string) (k key, ok bool) {
	if len(text) != 2*len(k) || strings.ToLower(text) != text {
		return k, false
	}
	_, err := hex.Decode(k[:], []byte(text))
	return k, err == nil
}

func (k key) String() string { return hex.EncodeToString(k[:]) }

// scanKey reads a key of a row.
func scanKey(b []byte) (k key, err error) {
	if len(b) != len(k) {
		return k, fmt.Errorf("the archive is damaged: a metadata key of %d octets, want %d", len(b), len(k))
	}
	return key(b), nil
}
