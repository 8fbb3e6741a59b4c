package sessions_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/probe"
	"owl/sessions"
	"owl/sessions/ports"
	"owl/sessions/server"
)

// A place is that of an answer: the i-th of the n-th connection over which
// sessions were asked for.
type place struct{ n, i int }

// An usher is a server's listener that sees what is asked for and answered in
// open mode, one slot a session, and may make ports collide.
type usher struct {
	net.Listener
	// The first answer from here on that can be made to grants the pair of ports
	// that another of the same connection has; nil: none.
	collide *place

	mu       sync.Mutex
	answers  [][]answer // by connection
	collided int
}

// An answer is one to a request from a port of the client.
type answer struct {
	from uint16
	owamp.Accepted
}

func (u *usher) Accept() (net.Conn, error) {
	c, err := u.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &usheredConn{Conn: c, usher: u}, nil
}

// A usheredConn is a connection of which the server writes a message at a time.
type usheredConn struct {
	net.Conn
	usher *usher

	mu      sync.Mutex
	read    []byte
	greeted bool
	asked   []uint16 // from which ports, not answered yet
	wrote   int      // messages
	at      place    // of the next answer
}

func (c *usheredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read = append(c.read, b[:n]...)
	if !c.greeted && len(c.read) >= owamp.SetUpResponseSize {
		c.greeted, c.read = true, c.read[owamp.SetUpResponseSize:]
	}
	const size = owamp.RequestSize + owamp.SlotSize + owamp.BlockSize
	for c.greeted && len(c.read) >= size && c.read[0] == byte(owamp.CommandRequestSession) {
		if spec, _, err := owamp.ParseRequest((*[owamp.RequestSize]byte)(c.read)); err == nil {
			c.asked = append(c.asked, max(spec.Sender.Port(), spec.Receiver.Port())) // the server's is 0
		}
		c.read = c.read[size:]
	}
	return n, err
}

func (c *usheredConn) Write(b []byte) (int, error) {
	const before = 2 // Server-Greeting and Server-Start
	c.mu.Lock()
	if c.wrote++; c.wrote > before && len(c.asked) > 0 {
		if a, err := owamp.ParseAcceptSession((*[owamp.AcceptSessionSize]byte)(b)); err == nil {
			b = c.answer(a).Append(nil)
		}
	}
	c.mu.Unlock()
	return c.Conn.Write(b)
}

// answer returns what the client gets in the place of a.
func (c *usheredConn) answer(a owamp.Accepted) owamp.Accepted {
	u := c.usher
	u.mu.Lock()
	defer u.mu.Unlock()
	if c.at.i == 0 {
		c.at.n = len(u.answers)
		u.answers = append(u.answers, nil)
	}
	all, from := &u.answers[c.at.n], c.asked[0]
	if to := u.collide; to != nil && u.collided == 0 && a.Accept == owamp.AcceptOK && (c.at.n > to.n || c.at.n == to.n && c.at.i >= to.i) {
		other := slices.IndexFunc(*all, func(b answer) bool { return b.from == from && b.Accept == owamp.AcceptOK })
		if other >= 0 {
			a.Port = (*all)[other].Port
			u.collided++
		}
	}
	*all = append(*all, answer{from, a})
	c.asked = c.asked[1:]
	c.at.i++
	return a
}

// String shows from which port sessions were asked for, and which were refused.
func (u *usher) String() string {
	var b strings.Builder
	for _, answers := range u.answers {
		for _, a := range answers {
			fmt.Fprintf(&b, " %d", a.from)
			if a.Accept != owamp.AcceptOK {
				b.WriteString("!")
			}
		}
		b.WriteString(";")
	}
	return b.String()
}

// A starter notes when the sessions of its ports begin to be sent.
type starter struct {
	ports.Prober

	mu    sync.Mutex
	leads []time.Duration // from then to the start of the session
}

func (s *starter) Listen(c probe.PortConfig) (ports.Port, error) {
	p, err := s.Prober.Listen(c)
	if err != nil {
		return nil, err
	}
	return &startedPort{p, s}, nil
}

type startedPort struct {
	ports.Port
	starter *starter
}

func (p *startedPort) Send(spec probe.SendSpec) (ports.Sending, error) {
	s := p.starter
	s.mu.Lock()
	s.leads = append(s.leads, spec.Start.Sub(owamp.FromTime(time.Now())))
	s.mu.Unlock()
	return p.Port.Send(spec)
}

// A session that is refused for want of a port, or that is granted a pair of
// ports which another has, is had from another port of this host. That costs
// neither it nor the others of its cohort any of their time.
func TestCohortCollision(t *testing.T) {
	type ranges = struct{ theirs, ours probe.PortRange }
	span := func(low, n uint16) probe.PortRange { return probe.PortRange{Low: low, High: low + n - 1} }
	enough := ranges{ours: span(9000, 8)}
	for name, test := range map[string]collision{
		"nothing":                    {},
		"refused":                    {ranges: enough, refuse: 4, again: 1},
		"refused later":              {ranges: enough, refuse: crew + 4, again: 1},
		"a port too few":             {ranges: ranges{span(8760, crew-1), span(9000, 8)}, again: 1},
		"receiving collides":         {ranges: enough, collide: &place{0, 2}, again: crew, anew: 1},
		"sending collides":           {ranges: enough, collide: &place{0, 3}, again: crew, anew: 1},
		"receiving collides later":   {ranges: enough, collide: &place{2, 2}, again: crew, anew: 1},
		"sending collides later":     {ranges: enough, collide: &place{2, 3}, again: crew, anew: 1},
		"refused and collides":       {ranges: enough, refuse: 3, collide: &place{0, 5}, again: crew, anew: 1},
		"refused and collides later": {ranges: enough, refuse: crew + 3, collide: &place{1, 5}, again: crew, anew: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble.Test(t, func(t *testing.T) {
				if again, anew := test.run(t); again != test.again || anew != test.anew {
					t.Errorf("%d requests in vain, %d connections given up, want %d and %d", again, anew, test.again, test.anew)
				}
			})
		})
	}
	// With no more pairs than there are sessions at a time some are refused until
	// others are over, but ten seconds are enough for that.
	for _, few := range []ranges{{span(8760, 1), span(9000, 16)}, {span(8760, 3), span(9000, 6)}, {span(8760, 4), span(9000, 4)}} {
		for i := range 4 {
			t.Run(fmt.Sprintf("%v/%v/%d", few.theirs, few.ours, i), func(t *testing.T) {
				t.Parallel()
				bubble.Test(t, func(t *testing.T) {
					test := collision{ranges: few, collide: &place{3, i + 1}, scarce: true}
					if again, anew := test.run(t); again > 2*sets*crew || anew > 10 {
						t.Errorf("%d requests in vain, %d connections given up", again, anew)
					}
				})
			})
		}
	}
}

// A crew is so many streams in a cohort, with so many sets of sessions.
const crew, sets = 8, 5

// A collision is what a cohort meets with.
type collision struct {
	ranges  struct{ theirs, ours probe.PortRange }
	refuse  int // the number of the port that the server cannot open
	collide *place
	scarce  bool // there are no more pairs of ports than sessions
	again   int  // requests that did not lead to a session
	anew    int  // connections that were given up
}

// run lets a crew measure, and returns how often it asked in vain, and on how
// many connections.
func (x *collision) run(t *testing.T) (again, anew int) {
	w := newWorld(t)
	opened := 0
	w.net.Refuse = func(c probe.PortConfig) error {
		if c.Addr != there {
			return nil
		}
		if opened++; opened == x.refuse {
			return syscall.EADDRINUSE
		}
		return nil
	}
	ln := w.listen(5 * time.Millisecond)
	u, far, near := &usher{Listener: ln, collide: x.collide}, &starter{Prober: w.net}, &starter{Prober: w.net}
	h := w.serveOn(ln, u, func(c *server.Config) { c.Prober, c.Ports = far, x.ranges.theirs })
	cfg := config(300, 100*time.Millisecond, time.Second)
	cfg.Slots[0].Type = owamp.SlotFixed // they stay together
	pool := ports.NewPool(near, x.ranges.ours, "")
	c := w.gather(crew, cfg, func(_ int, cfg *sessions.StreamConfig) { cfg.Pool = pool })
	c.pool = pool
	c.watch(h, (sets-1)*30*time.Second+10*time.Second)
	for i, s := range c.streams {
		if !x.scarce {
			c.wantWhole(i)
			continue
		}
		// Chance may keep the last pair from a session for a while.
		if s := s.Snapshot(); s.Measured < s.Elapsed*9/10 || s.Lost != 0 || s.NotSent != 0 {
			t.Errorf("stream %d: measured %v of %v, gaps %v, lost %d, not sent %d", i, s.Measured, s.Elapsed, s.Gaps, s.Lost, s.NotSent)
		}
	}
	c.end(h)

	leads := append(far.leads, near.leads...)
	if len(leads) != sets*crew && !x.scarce {
		t.Errorf("%d sessions, want %d", len(leads), sets*crew)
	}
	for _, lead := range leads {
		if lead <= 0 {
			t.Errorf("a session was begun %v after its start", -lead)
		}
	}
	for line := range strings.Lines(w.logged()) {
		refused := strings.Contains(line, "temporary resource limit; trying again") || strings.Contains(line, ": refused\"")
		if strings.Contains(line, "WARN") && (!refused || !x.scarce) {
			t.Errorf("logged %s", line)
		}
	}
	if x.refuse > 0 && x.refuse > opened || x.collide != nil && u.collided == 0 && x.ranges.theirs.Low != x.ranges.theirs.High {
		t.Errorf("%d ports were opened, %d collisions: nothing was tested", opened, u.collided)
	}
	t.Logf("asked for from ports, ! refused:%v", u)
	for _, answers := range u.answers {
		again += len(answers)
	}
	return again - len(leads), len(u.answers) - sets
}
