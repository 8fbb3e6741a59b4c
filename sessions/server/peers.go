package server

import (
	"log/slog"
	"sync"
	"time"

	"owl/owamp"
	"owl/sessions"
)

const (
	// A peer that no session has been with for so long is forgotten.
	forgetAfter = 10 * time.Minute
	// maxPeers bounds those that are remembered; one more is followed, but not
	// watched.
	maxPeers = 4096
)

// peers are those that tests were made with lately, for who watches them.
type peers struct {
	clock sessions.Clock
	host  sessions.Host // nil: nobody watches this host
	log   *slog.Logger
	watch func(Peer, func() sessions.Snapshot) Watcher

	mu  sync.Mutex
	all map[Peer]*peer
}

// A peer is one of them, in one direction.
type peer struct {
	all     *peers
	name    Peer
	tally   *sessions.Tally
	watcher Watcher // nil: not watched
	users   int     // sessions
	forget  *time.Timer
}

func newPeers(cfg *Config) *peers {
	return &peers{clock: cfg.Clock, host: cfg.Host, log: cfg.Log, watch: cfg.Watch, all: make(map[Peer]*peer)}
}

// get returns the peer of that name for one session, which gives it back with
// put.
func (ps *peers) get(name Peer) *peer {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.all[name]
	if p == nil {
		p = &peer{all: ps, name: name, tally: sessions.NewTally(ps.clock)}
		p.tally.Attribute(ps.host, ps.log.With("sender", name.Sender))
		if len(ps.all) >= maxPeers {
			return p
		}
		ps.all[name] = p
		if ps.watch != nil {
			p.watcher = ps.watch(name, p.tally.Snapshot)
		}
	}
	if p.forget != nil {
		p.forget.Stop()
		p.forget = nil
	}
	p.users++
	p.tally.SetState(sessions.StateRunning)
	return p
}

// put gives p back.
func (p *peer) put() {
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	p.users--
	if p.users > 0 {
		return
	}
	p.tally.SetState(sessions.StateIdle)
	if p.all.all[p.name] == p {
		p.forget = time.AfterFunc(forgetAfter, p.expire)
	}
}

// expire forgets p, unless a session with it has begun again.
func (p *peer) expire() {
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	if p.users == 0 && p.all.all[p.name] == p {
		p.drop()
	}
}

// drop forgets p. The lock is held.
func (p *peer) drop() {
	delete(p.all.all, p.name)
	p.tally.Close()
	if p.watcher != nil {
		p.watcher.Close()
	}
}

// close forgets all.
func (ps *peers) close() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for _, p := range ps.all {
		if p.forget != nil {
			p.forget.Stop()
		}
		p.drop()
	}
}

// observe passes received packets on to the watcher.
func (p *peer) observe(recs []owamp.Record) {
	if p.watcher == nil {
		return
	}
	p.watcher.Observe(recs)
}
