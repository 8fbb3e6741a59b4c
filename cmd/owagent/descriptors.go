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
	ownDescriptors    = 64
	sharedPorts       = 256
	serverDescriptors = 512 // connections, and files of sessions that it receives
)

// descriptors returns how many files and sockets the streams of cfg have open at
// the same time, about: control connections, of which each session has one until
// it is over, and files.
func descriptors(cfg *agentfile.Config) uint64 {
	const lead = 10 * time.Second
	n := uint64(ownDescriptors)
	if cfg.Server != nil {
		n += serverDescriptors
	}
	for i := range cfg.Streams {
		s := &cfg.Streams[i]
		length := max(sessionLength(s), time.Millisecond)
		life := lead + length + s.Timeout.Duration() + s.EndDelay.Duration()
		sessions := uint64(min(math.Ceil(life.Seconds()/length.Seconds()), 64))
		n += sessions
		if s.Dir != "" {
			n += sessions + 1 // and the lock
		}
		if s.Direction == agentfile.Send {
			n++ // what is fetched has a connection of its own
		}
	}
	return n + min(uint64(len(cfg.Streams)), sharedPorts)
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
