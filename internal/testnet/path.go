package testnet

import "time"

// A Path says what a [Wire] does to packets in one direction. Loss,
// duplication and reordering strike UDP alone, so that a control connection
// stays whole and every struck packet is a test packet; the delay, the hops
// and a path that is Down concern all packets.
type Path struct {
	// Delay is the least time that a packet is under way. A packet may be
	// later, by what this process needs to wake up, never earlier.
	Delay time.Duration
	// Jitter is the greatest random time that is added. It never reorders.
	Jitter time.Duration
	// Hops is by how much TTL and hop limit are lowered.
	Hops uint8
	// Loss, Duplicate and Reorder are probabilities. A duplicate comes right
	// after its packet; a reordered packet right after the next UDP packet of
	// its direction, or after 200 ms if there is none.
	Loss, Duplicate, Reorder float64
	// Down loses everything.
	Down bool
}

// Counts are what a [Wire] has done to the UDP packets of one direction: all
// that have entered it, and how many of them it has lost, sent twice, and sent
// after a later one.
type Counts struct {
	Packets, Lost, Duplicated, Reordered int
}

// reorderWait is how long a packet waits for another one to overtake it.
const reorderWait = 200 * time.Millisecond

// queued is a packet that is under way.
type queued struct {
	due    time.Time
	packet []byte
}

// A lane is what happens in one direction: pure, and fed with packets, time and
// randomness by its owner.
type lane struct {
	path   Path
	counts Counts
	queue  []queued // by due time
	held   []byte   // waits for the next UDP packet to overtake it
	until  time.Time
	random func() float64
}

// enter takes a packet, which the lane then owns.
func (l *lane) enter(p []byte, now time.Time) {
	udp := isUDP(p)
	if udp {
		l.counts.Packets++
	}
	if l.path.Down || udp && l.strikes(l.path.Loss) || !lowerTTL(p, l.path.Hops) {
		if udp {
			l.counts.Lost++
		}
		return
	}
	if udp && l.held == nil && l.strikes(l.path.Reorder) {
		l.held, l.until = p, now.Add(reorderWait)
		return
	}
	l.push(p, now)
	if !udp {
		return
	}
	if l.strikes(l.path.Duplicate) {
		l.counts.Duplicated++
		l.push(append([]byte(nil), p...), now)
	}
	if l.held != nil {
		l.counts.Reordered++
		l.push(l.held, now)
		l.held = nil
	}
}

func (l *lane) strikes(p float64) bool { return p > 0 && l.random() < p }

// push puts a packet behind all that are under way.
func (l *lane) push(p []byte, now time.Time) {
	due := now.Add(l.path.Delay)
	if l.path.Jitter > 0 {
		due = due.Add(time.Duration(l.random() * float64(l.path.Jitter)))
	}
	if n := len(l.queue); n > 0 && l.queue[n-1].due.After(due) {
		due = l.queue[n-1].due
	}
	l.queue = append(l.queue, queued{due, p})
}

// leave hands over what has arrived by now and returns when to ask again; the
// zero time when nothing is under way.
func (l *lane) leave(now time.Time, deliver func([]byte)) (next time.Time) {
	if l.held != nil && !l.until.After(now) { // nothing has overtaken it
		l.push(l.held, now)
		l.held = nil
	}
	n := 0
	for n < len(l.queue) && !l.queue[n].due.After(now) {
		deliver(l.queue[n].packet)
		n++
	}
	l.queue = append(l.queue[:0], l.queue[n:]...)
	if len(l.queue) > 0 {
		next = l.queue[0].due
	}
	if l.held != nil && (next.IsZero() || l.until.Before(next)) {
		next = l.until
	}
	return next
}

// Where the fields of an IP header are that a path looks at or changes.
const (
	protocolUDP = 17

	ttl4, protocol4, checksum4, header4 = 8, 9, 10, 20
	protocol6, hopLimit6, header6       = 6, 7, 40
)

// isUDP reports whether p is an IP packet or a fragment of one that carries UDP.
// Of IPv6's extension headers it knows the fragment's.
func isUDP(p []byte) bool {
	const fragment6 = 44
	switch {
	case len(p) >= header4 && p[0]>>4 == 4:
		return p[protocol4] == protocolUDP
	case len(p) >= header6 && p[0]>>4 == 6:
		return p[protocol6] == protocolUDP || p[protocol6] == fragment6 && len(p) > header6 && p[header6] == protocolUDP
	}
	return false
}

// lowerTTL lowers the TTL or hop limit by n, and reports whether the packet
// survives that. IPv4's header checksum follows by RFC 1624.
func lowerTTL(p []byte, n uint8) bool {
	switch {
	case n == 0:
		return true
	case len(p) >= header4 && p[0]>>4 == 4:
		if p[ttl4] <= n {
			return false
		}
		old := uint32(p[ttl4])<<8 | uint32(p[protocol4])
		p[ttl4] -= n
		now := uint32(p[ttl4])<<8 | uint32(p[protocol4])
		sum := ^(uint32(p[checksum4])<<8 | uint32(p[checksum4+1])) & 0xffff
		sum += (^old & 0xffff) + now
		sum = sum>>16 + sum&0xffff
		sum = sum>>16 + sum&0xffff
		sum = ^sum
		p[checksum4], p[checksum4+1] = byte(sum>>8), byte(sum)
		return true
	case len(p) >= header6 && p[0]>>4 == 6:
		if p[hopLimit6] <= n {
			return false
		}
		p[hopLimit6] -= n
		return true
	}
	return true
}
