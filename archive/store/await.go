package store

import (
	"context"
	"errors"
	"time"
)

// awaitEvery is how often a database that is away is looked for.
const awaitEvery = 2 * time.Second

// await sees to the schema of a database that is away, for the reason err, as soon
// as it is there. Until then whatever needs the store fails with the reason.
func (s *Store) await(err error) {
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	go func() {
		select {
		case <-s.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	ticker := time.NewTicker(awaitEvery)
	defer ticker.Stop()
	for away := true; err != nil; err = s.migrate(ctx) {
		if now := s.unreached(err); now != away { // which is told anew
			away = now
			s.mu.Lock()
			s.failing = nil
			s.mu.Unlock()
		}
		s.tell(err)
		select {
		case <-ticker.C:
		case <-s.closing:
			return
		}
	}
	s.tell(nil)
	close(s.ready)
}

// unreached reports whether an error is that there is no connection to a server,
// which may come, and not that it refuses.
func (s *Store) unreached(err error) bool {
	_, dialing := errors.AsType[*dialError](err)
	return dialing && s.dialect.away(err)
}

// awaited returns why the store cannot be used yet; nil: it can.
func (s *Store) awaited() error {
	select {
	case <-s.ready:
		return nil
	default:
		return s.failed()
	}
}
