// Package server is what owampd does: it answers control connections, sends
// test packets to those who ask for them and records those that come.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"owl/owamp"
	"owl/owamp/control"
	"owl/probe"
	"owl/sessions"
	"owl/sessions/policy"
	"owl/sessions/ports"
)

// Bounds of what one peer may ask for, however it asks. Policy, which an
// operator sets, comes before them.
const (
	maxSessions = 64                   // on one control connection
	maxSlots    = 1 << 12              // in a schedule
	maxPayload  = 65507                // octets: the greatest UDP payload over IPv4
	maxLate     = 1 << 20              // packets that are overdue already when a session is asked for
	maxAhead    = 365 * 24 * time.Hour // from the asking for a session to its start
	minInterval = owamp.Interval(4295) // a microsecond, the mean between two packets
	maxRates    = 1 << 14              // peers whose rates are remembered
	// keepAlive finds a dead peer while a test runs and no message is due.
	keepAlive = 15 * time.Second
)

// Config describes a server. Clock, Prober, Random, Log and Store are needed.
type Config struct {
	Settings
	Modes  owamp.Mode // offered; 0: open
	Clock  sessions.Clock
	Prober ports.Prober
	Random io.Reader // for many at a time
	Log    *slog.Logger
	Store  *Store // where sessions that this host receives are kept; this server's alone
	// Limits say what each peer may do; nil: [policy.Unlimited].
	Limits *policy.Limits
	// Started is what clients are told as the server's start; 0: when New was
	// called.
	Started owamp.Timestamp
	// Host says what this host did when packets were lost; may be nil.
	Host sessions.Host
	// Watch is told of each peer that tests are made with, in each direction,
	// and returns who watches it. May be nil.
	Watch func(p Peer, snapshot func() sessions.Snapshot) Watcher
}

// Settings are the part of a [Config] that can change while the server runs.
type Settings struct {
	Ports probe.PortRange // for the test packets; zero: any
	// EndDelay is how long after the last packet's time-out a sending session
	// ends, for receivers whose clock is behind.
	EndDelay time.Duration
	// IdleTimeout bounds the wait for a message while no test runs; 0: 30 min.
	IdleTimeout time.Duration
	// MaxConnections bounds the control connections; 0: 4096. More than half of
	// the files that this process may have open they never are.
	MaxConnections int
	// Passphrases are of those who may use authenticated and encrypted mode;
	// nil: nobody.
	Passphrases *policy.Passphrases
	// Derivation is the iterations in which a client derives a key from its
	// pass-phrase, at least 1024; 0: 2048.
	Derivation uint32
	// DiskFudge is by how much the files of sessions may exceed the limits of
	// disk once they are written, since duplicates make them greater than what
	// was asked for; 0: 1.
	DiskFudge float64
	// Retention is for how long after its end a session is kept; 0: until it
	// is fetched, if its class has delete_on_fetch, or somebody deletes it.
	Retention time.Duration
}

// complete returns st with what its zero values mean.
func (s *Server) complete(st Settings) Settings {
	if st.MaxConnections == 0 {
		st.MaxConnections = 4096
	}
	if files := openFiles(); st.MaxConnections > files/2 {
		st.MaxConnections = files / 2
		s.log.Info(fmt.Sprintf("at most %d control connections are accepted: half of the files that may be open", st.MaxConnections))
	}
	if st.IdleTimeout == 0 {
		st.IdleTimeout = 30 * time.Minute
	}
	if st.Passphrases == nil {
		st.Passphrases = new(policy.Passphrases)
	}
	if st.DiskFudge == 0 {
		st.DiskFudge = 1
	}
	return st
}

// A Peer names what is measured: the test packets between a host and this one
// in one direction.
type Peer struct {
	Sender, Receiver netip.Addr
	Receiving        bool // this host receives
}

// A Watcher watches a [Peer]; *metrics.Stream is one.
type Watcher interface {
	Observe(recs []owamp.Record) // received packets, no duplicates
	Close()
}

// A Server serves OWAMP-Control and the tests asked for through it.
type Server struct {
	cfg    Config
	log    *slog.Logger
	pool   *ports.Pool
	peers  *peers
	ledger *policy.Ledger

	connections, requests *policy.Rates
	denials               *hush // of requests, by host
	strangers             *hush // connections on which nobody got as far as to ask
	derivations           chan struct{}
	door                  door
	room                  *room

	mu       sync.Mutex
	settings Settings
}

// New returns a server for cfg.
func New(cfg Config) *Server {
	if cfg.Modes == 0 {
		cfg.Modes = owamp.ModeOpen
	}
	if cfg.Limits == nil {
		cfg.Limits = policy.Unlimited()
	}
	if cfg.Started == 0 {
		cfg.Started = cfg.Clock.Now()
	}
	s := &Server{
		cfg:         cfg,
		log:         cfg.Log,
		pool:        ports.NewPool(cfg.Prober, cfg.Ports, ""),
		peers:       newPeers(&cfg),
		ledger:      policy.NewLedger(cfg.Limits),
		connections: policy.NewRates(maxRates),
		requests:    policy.NewRates(maxRates),
		denials:     newHush(),
		strangers:   newHush(),
		derivations: make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1)), // the other half measures
		door:        door{peers: make(map[netip.Addr]int)},
		room:        newRoom(need{sessions: maxRecorded, entries: maxEntries}),
	}
	s.settings = s.complete(cfg.Settings)
	cfg.Store.adopt(s.ledger)
	return s
}

// Reload puts other settings and limits in force for all that is asked for from
// now on. Sessions that run, and those that were granted, stay as they are, and
// count in the new limits.
func (s *Server) Reload(st Settings, l *policy.Limits) {
	s.ledger.Replace(l)
	s.pool.SetRange(st.Ports)
	st = s.complete(st)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings = st
}

// inForce returns the settings in force.
func (s *Server) inForce() Settings {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settings
}

// Started returns what clients are told as the server's start.
func (s *Server) Started() owamp.Timestamp { return s.cfg.Started }

// Serve answers the connections that ln accepts until ctx is done; then it ends
// all sessions, keeping what they recorded, and returns nil. Any other end is
// an error.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	var conversations sync.WaitGroup
	defer s.peers.close()
	defer s.pool.Close()
	defer conversations.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	conversations.Go(func() { s.clean(ctx) })
	for {
		conn, err := ln.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			// Out of descriptors, or the peer was gone already: neither is
			// a reason to stop serving the others.
			s.log.Error(fmt.Sprintf("accepting a connection: %v", err))
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		peer := remoteAddr(conn)
		if err := s.letIn(peer); err != nil {
			s.strangers.say(s.log, everyone, fmt.Sprintf("connection from %v refused: %v", conn.RemoteAddr(), err))
			conn.Close()
			continue
		}
		conversations.Go(func() {
			defer s.door.leave(peer)
			defer conn.Close()
			s.converse(ctx, conn, peer)
		})
	}
}

// clean looks after the store until ctx is done.
func (s *Server) clean(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		s.cfg.Store.sweep(ctx, s.inForce().Retention)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// converse holds one conversation.
func (s *Server) converse(ctx context.Context, conn net.Conn, addr netip.Addr) {
	log := s.log.With("peer", conn.RemoteAddr().String())
	log.Debug(fmt.Sprintf("Connection to %v", conn.LocalAddr()))
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: keepAlive, Interval: keepAlive, Count: 3})
	}
	peer := policy.Peer{Addr: addr}
	c := &conversation{Server: s, log: log, peer: peer, account: s.ledger.Account(peer)}
	settings := s.inForce()
	modes := s.cfg.Modes
	if settings.Passphrases.Len() == 0 {
		modes &= owamp.ModeOpen
	}
	if class := c.account.Class(); !class.AllowOpen() {
		if modes &^= owamp.ModeOpen; modes == 0 {
			s.strangers.say(log, everyone, fmt.Sprintf("connection refused: class %s: allow_open_mode = off", class.Name()))
		}
	}
	err := control.Serve(ctx, conn, control.ServerConfig{
		Modes:       modes,
		Start:       s.cfg.Started,
		Rand:        s.cfg.Random,
		Now:         s.cfg.Clock.Now,
		ThirdParty:  true, // the class of the peer says
		Passphrase:  settings.Passphrases.Get,
		Count:       settings.Derivation,
		Derivations: s.derivations,
		IdleTimeout: settings.IdleTimeout,
		MaxSlots:    maxSlots,
		MaxSessions: maxSessions,
	}, c)
	switch {
	case err == nil || ctx.Err() != nil:
	case c.client == nil:
		s.strangers.say(log, everyone, fmt.Sprintf("Connection ended: %v", err))
	default:
		c.log.Warn(fmt.Sprintf("Connection ended: %v", err))
	}
}
