package capture

import (
	"encoding/binary"
	"net/netip"
	"time"

	"owl/owamp"
)

const (
	// Head is how many octets of its payload are left of a datagram that came in
	// fragments.
	Head = 128
	// maxLength is the greatest length of what may be fragmented, in octets.
	maxLength = 1<<16 - 1
	// reach is how many octets of what was fragmented are stored: extension
	// headers behind that of the fragments, and Head.
	reach = 512
	// maxAssemblies is how many datagrams are put together at a time. The oldest
	// one makes room for another.
	maxAssemblies = 64
	// maxRuns is how many stretches of a datagram may have come that do not
	// touch each other.
	maxRuns = 16
	// patience is how long a datagram may take from its first part to its last,
	// as in the Linux kernel.
	patience = 30 * time.Second
)

// An Assembler puts together datagrams that came in fragments. It stores none of
// their octets but the first ones: what else there is to know of a datagram is
// its length and its checksum, which is the sum of those of its parts. So it
// never needs more memory than it has from the start. The zero Assembler is ready
// for use.
type Assembler struct {
	open [maxAssemblies]assembly
}

// An assembly is a datagram of which not all parts have come.
type assembly struct {
	used     bool
	refused  bool // parts overlap (RFC 5722), or are too many
	from, to netip.Addr
	id       uint32
	began    owamp.Timestamp
	runs     [maxRuns]run // ascending, apart from each other
	count    int          // of runs
	total    int          // length; 0: the last part has not come
	sum      uint16       // of all parts that have come, from the header of UDP on
	hasFirst bool
	first    Packet // what the headers of the first part say
	header   int    // where the header of UDP is
	head     [reach]byte
}

// A run is the octets from begin up to, but not including, end.
type run struct{ begin, end int }

// Add takes in a packet that is a [Fragment] and reports whether it has completed
// a datagram. If so, p is that datagram, with the time stamp of the part that came
// last and the TTL and DSCP of the first one, as a socket has them; its Payload
// has [Head] octets at most, and is valid until the next call. Add does not
// allocate.
func (a *Assembler) Add(p *Packet) bool {
	s := a.find(p)
	if s.refused {
		return false
	}
	f := &p.part
	if !s.insert(run{f.offset, f.offset + len(f.body)}, f.more) {
		return false
	}
	s.take(p)
	if !s.hasFirst || s.count != 1 || s.runs[0] != (run{0, s.total}) {
		return false
	}
	s.used = false
	s.first.Time = p.Time
	*p = s.first
	return s.finish(p)
}

// finish makes p, which has the headers of the first part, the datagram that all
// parts make up. It reports false if it is damaged, or if octets follow it, which
// no sender has a reason for and would be in its checksum's sum.
func (s *assembly) finish(p *Packet) bool {
	if s.header+udpHeader+Head > reach {
		return false
	}
	header := s.head[s.header : s.header+udpHeader]
	length := int(binary.BigEndian.Uint16(header[4:]))
	if length < udpHeader || s.header+length != s.total {
		return false
	}
	p.Length = length - udpHeader
	p.Payload = s.head[s.header+udpHeader:][:min(p.Length, Head)]
	if binary.BigEndian.Uint16(header[6:]) == 0 {
		return p.Source.Addr().Is4()
	}
	return add(p.pseudoHeader(length), s.sum) == 0xffff
}

// find returns the assembly that p belongs to, a new one if there is none.
func (a *Assembler) find(p *Packet) *assembly {
	from, to, id := p.Source.Addr(), p.Destination.Addr(), p.part.id
	free := &a.open[0]
	for i := range a.open {
		s := &a.open[i]
		if s.used && p.Time.Sub(s.began).Abs() > patience {
			s.used = false
		}
		switch {
		case s.used && s.id == id && s.from == from && s.to == to:
			return s
		case free.used && (!s.used || s.began.Before(free.began)):
			free = s
		}
	}
	*free = assembly{used: true, from: from, to: to, id: id, began: p.Time}
	return free
}

// insert notes that the octets r have come. It reports whether they are new; if
// they overlap others without being the same once more, or contradict the length,
// nothing of the datagram will be believed.
func (s *assembly) insert(r run, more bool) bool {
	i := 0
	for i < s.count && s.runs[i].end < r.begin {
		i++
	}
	// Runs from i on end at r's begin or behind it.
	joinsLeft := i < s.count && s.runs[i].end == r.begin
	next := i
	if joinsLeft {
		next++
	}
	if next < s.count && s.runs[next].begin < r.end {
		if s.runs[next].begin <= r.begin && r.end <= s.runs[next].end {
			return false // a duplicate
		}
		return s.refuse()
	}
	if last := s.count - 1; s.total != 0 && (r.end > s.total || !more) || !more && last >= 0 && s.runs[last].end > r.end {
		return s.refuse()
	}
	joinsRight := next < s.count && s.runs[next].begin == r.end
	switch {
	case joinsLeft && joinsRight:
		s.runs[i].end = s.runs[next].end
		copy(s.runs[next:s.count], s.runs[next+1:s.count])
		s.count--
	case joinsLeft:
		s.runs[i].end = r.end
	case joinsRight:
		s.runs[next].begin = r.begin
	case s.count == maxRuns:
		return s.refuse()
	default:
		copy(s.runs[i+1:s.count+1], s.runs[i:s.count])
		s.runs[i] = r
		s.count++
	}
	if !more {
		s.total = r.end
	}
	return true
}

func (s *assembly) refuse() bool {
	s.refused = true
	return false
}

// take adds what a part says.
func (s *assembly) take(p *Packet) {
	f := &p.part
	if f.offset < reach {
		copy(s.head[f.offset:], f.body)
	}
	if f.offset == 0 {
		s.hasFirst, s.first, s.header = true, *p, f.header
		s.first.Payload, s.first.part = nil, part{} // which are the frame's
	}
	s.sum = add(s.sum, sum(f.body[f.header:]))
}
