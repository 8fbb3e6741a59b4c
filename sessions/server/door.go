package server

import (
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"owl/owamp"
	"owl/owamp/schedule"
	"owl/owamp/window"
	"owl/sessions/policy"
)

// openFiles returns how many files this process may have open.
func openFiles() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(limit.Cur)
}

// remoteAddr returns the address of the peer; the zero Addr if it has none.
func remoteAddr(conn net.Conn) netip.Addr {
	remote, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
	return remote.Addr().Unmap()
}

// letIn counts one more connection with peer, or says why there shall be none.
func (s *Server) letIn(peer netip.Addr) error {
	class := s.ledger.Limits().Class(peer, "")
	if rate := class.ConnectionRate(); !s.connections.Allow(peer, rate, time.Now()) {
		return fmt.Errorf("class %s: connection_rate = %d is used up", class.Name(), rate)
	}
	return s.door.enter(peer, s.inForce().MaxConnections)
}

// A door counts the control connections.
type door struct {
	mu    sync.Mutex
	conns int
	peers map[netip.Addr]int // by host
}

// enter counts one more, of at most that many. The last eighth of them is for
// those who have none, so that nobody shuts all others out.
func (d *door) enter(peer netip.Addr, most int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	peer = policy.HostOf(peer)
	switch own := d.peers[peer]; {
	case d.conns >= most:
		return fmt.Errorf("%d are open", d.conns)
	case own > 0 && d.conns >= most-most/8:
		return fmt.Errorf("%d are open, %d of them from there, and the last %d are for others", d.conns, own, most/8)
	}
	d.conns++
	d.peers[peer]++
	return nil
}

func (d *door) leave(peer netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	peer = policy.HostOf(peer)
	d.conns--
	if d.peers[peer]--; d.peers[peer] == 0 {
		delete(d.peers, peer)
	}
}

// maxEntries bounds the packets that all sessions together may wait for at a
// time: 1 GB of them.
const maxEntries = 64 << 20

// maxRecorded bounds the sessions that are recorded at a time: some 200 MB of
// what belongs to them whatever they wait for.
const maxRecorded = 1 << 15

// A need is what sessions that are recorded take, whatever the limits say: how
// many they are, and how many packets they wait for.
type need struct{ sessions, entries int }

// room is where sessions that are recorded find what they need. As with [door],
// the last eighth is for hosts that have none.
type room struct {
	mu         sync.Mutex
	most, left need
	hosts      map[netip.Addr]need
}

func newRoom(most need) *room {
	return &room{most: most, left: most, hosts: make(map[netip.Addr]need)}
}

// needOf returns what a session needs. A window that is too large to be had is
// not counted: it is refused anyway.
func needOf(spec *owamp.SessionSpec) (need, error) {
	gen, err := schedule.New(spec.SID, spec.Slots)
	if err != nil {
		return need{}, err
	}
	n := need{sessions: 1}
	if entries := min(gen.Within(3*min(spec.Timeout, math.MaxUint64/3)), uint64(spec.Packets)); entries <= window.MaxEntries {
		n.entries = int(entries)
	}
	return n, nil
}

// take takes n for a session with host, which gives it back.
func (r *room) take(host netip.Addr, n need) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	own, rest := r.hosts[host], need{}
	if own.sessions > 0 {
		rest = need{r.most.sessions / 8, r.most.entries / 8}
	}
	switch {
	case r.left.sessions-n.sessions < rest.sessions:
		return refuse(owamp.AcceptTemporaryLimit, "%d sessions are recorded, %d of them for %v: want no more", r.most.sessions-r.left.sessions, own.sessions, host)
	case r.left.entries-n.entries < rest.entries:
		return refuse(owamp.AcceptTemporaryLimit, "up to %d packets to be waited for at a time: want at most %d", n.entries, max(r.left.entries-rest.entries, 0))
	}
	r.add(host, n, 1)
	return nil
}

// give gives n back.
func (r *room) give(host netip.Addr, n need) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(host, n, -1)
}

func (r *room) add(host netip.Addr, n need, sign int) {
	own := r.hosts[host]
	own.sessions += sign * n.sessions
	own.entries += sign * n.entries
	r.hosts[host] = own
	if own == (need{}) {
		delete(r.hosts, host)
	}
	r.left.sessions -= sign * n.sessions
	r.left.entries -= sign * n.entries
}

// A hush bounds how often something is logged that a peer can bring about at
// will: for one key ten times in a row, and then once a second.
type hush struct {
	rates *policy.Rates

	mu     sync.Mutex
	untold int
}

func newHush() *hush { return &hush{rates: policy.NewRates(maxRates)} }

// everyone is the key of what is bounded for all peers together, because there
// may be many of them.
var everyone netip.Addr

// say logs line, or counts it for the next one.
func (h *hush) say(log *slog.Logger, key netip.Addr, line string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.rates.Allow(key, 1, time.Now()) {
		h.untold++
		return
	}
	if h.untold > 0 {
		line += fmt.Sprintf(" (%d such lines were left out before)", h.untold)
		h.untold = 0
	}
	log.Warn(line)
}
