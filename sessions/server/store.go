package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"owl/owamp"
	"owl/owamp/owp"
	"owl/sessions/policy"
)

// maxStored bounds the sessions in a store, and so what is remembered of them:
// some 200 MB.
const maxStored = 1 << 20

// errStored says that the store has no room for one more session.
var errStored = fmt.Errorf("the data directory has %d sessions: want no more", maxStored)

// A Store is the directory in which a server keeps the sessions that it
// received, laid out as the reference does, because other tools read it:
//
//	hierarchy/CLASS/…/SID.owp  the file, below the path of its limit class
//	hierarchy/CLASS/…/SID.by   who asked for it, see [policy.Peer.AppendText]
//	catalog/SID.owp            a symbolic link to the file
//
// The names of creators are Owl's. A session without one, as the reference
// leaves it, has no creator; whether it can be fetched is up to its class.
//
// A store is one server's alone, which mends and forgets what it finds: the
// directory is locked until Close.
type Store struct {
	dir  string
	log  *slog.Logger
	lock *os.File // the directory

	mu  sync.Mutex
	all map[owamp.SID]stored
}

// Close gives the directory free. What is recorded into it at that time is
// another server's from then on: close a store when its server has ended.
func (s *Store) Close() error { return s.lock.Close() }

// A stored is a session in a [Store].
type stored struct {
	dir     string              // where its file is
	recent  *File               // while it is recorded; nil: it has ended
	size    int64               // of its file when the store was opened
	account *policy.Reservation // of its class, the disk that it takes
}

// owpName and byName are the names of a session's files.
func owpName(sid owamp.SID) string { return sid.String() + ".owp" }
func byName(sid owamp.SID) string  { return sid.String() + ".by" }

func (s *Store) hierarchy() string         { return filepath.Join(s.dir, "hierarchy") }
func (s *Store) catalog() string           { return filepath.Join(s.dir, "catalog") }
func (s *Store) link(sid owamp.SID) string { return filepath.Join(s.catalog(), owpName(sid)) }

// Create makes the file of a session that creator has asked for, and for which
// account is held. It is empty, and in the catalog.
func (s *Store) Create(sid owamp.SID, account *policy.Reservation, creator policy.Peer) (_ *File, err error) {
	dir := filepath.Join(s.hierarchy(), filepath.FromSlash(account.Class().Path()))
	f := &File{path: filepath.Join(dir, owpName(sid)), store: s, sid: sid, creator: creator, done: make(chan struct{})}
	if err := s.enter(sid, stored{dir: dir, recent: f, account: account}); err != nil {
		return nil, err
	}
	var made []string
	defer func() {
		if err != nil {
			for _, name := range slices.Backward(made) {
				_ = os.Remove(name) // at worst the next start does it
			}
			s.leave(sid)
		}
	}()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	by, err := creator.AppendText(nil)
	if err != nil {
		return nil, err
	}
	name := filepath.Join(dir, byName(sid))
	made = append(made, name)
	if err := os.WriteFile(name, append(by, '\n'), 0o644); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(f.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	made = append(made, f.path)
	return f, errors.Join(file.Close(), os.Symlink(f.path, s.link(sid)))
}

// enter adds a session to those that there are.
func (s *Store) enter(sid owamp.SID, e stored) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.all[sid]; taken {
		return fmt.Errorf("session %v: %w", sid, fs.ErrExist)
	}
	if len(s.all) >= maxStored {
		return errStored
	}
	s.all[sid] = e
	return nil
}

// leave forgets a session, and gives back what it held.
func (s *Store) leave(sid owamp.SID) {
	s.mu.Lock()
	e, ok := s.all[sid]
	delete(s.all, sid)
	s.mu.Unlock()
	if ok {
		e.account.Release()
	}
}

// lookup returns what there is of a session.
func (s *Store) lookup(sid owamp.SID) (stored, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.all[sid]
	return e, ok
}

// remove deletes a session: first its entry in the catalog, by which others
// find it, and last what says whose it is. A session that cannot be deleted
// stays.
func (s *Store) remove(sid owamp.SID) error {
	e, ok := s.lookup(sid)
	if !ok {
		return nil
	}
	for _, name := range []string{s.link(sid), filepath.Join(e.dir, owpName(sid)), filepath.Join(e.dir, byName(sid))} {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	s.leave(sid)
	return nil
}

// creator returns who asked for a session; the zero Peer is one that nobody
// knows.
func (s *Store) creator(sid owamp.SID, e stored) policy.Peer {
	if e.recent != nil {
		return e.recent.creator
	}
	var p policy.Peer
	text, err := readLine(filepath.Join(e.dir, byName(sid)))
	if err == nil {
		err = p.UnmarshalText(text)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn(fmt.Sprintf("session %v: who asked for it: %v", sid, err))
		}
		return policy.Peer{}
	}
	return p
}

// open reads the file of a session that is in the store.
func (s *Store) open(sid owamp.SID, e stored) (*owp.Reader, error) {
	r, err := owp.Open(filepath.Join(e.dir, owpName(sid)))
	if errors.Is(err, fs.ErrNotExist) && e.recent == nil {
		_ = s.remove(sid) // somebody has deleted it: at worst a link stays
	}
	return r, err
}

// sweepEvery is how often it is looked which sessions are too old, or were
// deleted by somebody else, whose disk is given back then.
const sweepEvery = 10 * time.Minute

// sweep deletes the sessions that have ended longer than retention ago, 0: none,
// and forgets those whose files are gone.
func (s *Store) sweep(ctx context.Context, retention time.Duration) {
	s.mu.Lock()
	var ended []owamp.SID
	for sid, e := range s.all {
		if e.recent == nil {
			ended = append(ended, sid)
		}
	}
	s.mu.Unlock()
	now := time.Now()
	var failed error
	kept := 0
	defer func() {
		if failed != nil {
			s.log.Error(fmt.Sprintf("deleting %d old sessions: %v", kept, failed))
		}
	}()
	for _, sid := range ended {
		if ctx.Err() != nil {
			return
		}
		e, ok := s.lookup(sid)
		if !ok {
			continue
		}
		info, err := os.Lstat(filepath.Join(e.dir, owpName(sid)))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err == nil && retention > 0 && now.Sub(info.ModTime()) > retention:
		default:
			continue
		}
		if err := s.remove(sid); err != nil {
			failed = err
			kept++
		}
	}
}
