package main

import (
	"fmt"
	"math"
	"time"

	"owl/internal/agentfile"
)

// The descriptors that there are beside those of streams: the agent's own, and
// the most test ports that it is likely to have.
const (
	ownDescriptors     = 64
	sharedPorts        = 256
	serverDescriptors  = 512  // connections, and files of sessions that it receives
	archiveDescriptors = 1024 // connections, and those of the store
)

// descriptors returns how many files and sockets the streams of cfg have open at
// the same time, about: control connections, test ports, and files.
func descriptors(cfg *agentfile.Config) uint64 {
	n := uint64(ownDescriptors)
	if cfg.Server != nil {
		n += serverDescriptors
	}
	if cfg.Archive != nil {
		n += archiveDescriptors
	}
	routes := make(map[route]*load)
	for i := range cfg.Streams {
		s := &cfg.Streams[i]
		r := routeOf(s)
		if routes[r] == nil {
			routes[r] = new(load)
		}
		sessions := routes[r].add(s)
		if s.Dir != "" {
			n += sessions + 1 // and the lock
		}
	}
	for _, l := range routes {
		n += l.connections()
	}
	return n + min(uint64(len(cfg.Streams)), sharedPorts)
}

// A load is what the control connections of a route are for.
type load struct {
	sessions uint64  // that exist at the same time
	cohorts  float64 // if each session found a cohort of those that end within 2 s of it
	fetching bool
}

// What package sessions has cohorts of, and how many connections it fetches over.
const (
	cohort     = 64
	fetchLines = 4
)

// add adds a stream, and returns how many of its sessions exist at the same
// time.
func (l *load) add(s *agentfile.Stream) uint64 {
	const lead, gathering = 10, 2 // s
	length := max(sessionLength(s), time.Millisecond).Seconds()
	life := lead + gathering + length + (s.Timeout.Duration() + s.EndDelay.Duration()).Seconds()
	sessions := uint64(min(math.Ceil(life/length), 64))
	l.sessions += sessions
	// Sessions that begin within 2 s, and so are asked for together, end within as
	// many times 2 s as exponential waiting times spread them over.
	spread := 0.0
	if !s.Periodic {
		spread = 6 * math.Sqrt(float64(s.Packets)) * s.Interval.Duration().Seconds()
	}
	l.cohorts = max(l.cohorts, math.Ceil(life/2)*(1+spread/2))
	l.fetching = l.fetching || s.Direction == agentfile.Send
	return sessions
}

// connections returns how many connections a route has at the same time, about.
func (l *load) connections() uint64 {
	n := min(l.sessions, uint64(math.Ceil(l.cohorts))+l.sessions/cohort)
	if l.fetching {
		n += fetchLines
	}
	return n
}

// warnDescriptors raises the limit of descriptors as far as it may be, and says
// so if that is too few for cfg.
func warnDescriptors(cfg *agentfile.Config) []string {
	need := descriptors(cfg)
	limit, known := raiseDescriptors(need)
	if !known || need <= limit {
		return nil
	}
	return []string{fmt.Sprintf("%d streams have about %d files and connections open, this process may have %d: sessions will fail; raise its limit of open files (ulimit -Hn, LimitNOFILE=)", len(cfg.Streams), need, limit)}
}
