package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"owl/internal/netlab"
	"owl/owamp"
	"owl/probe/clock"
	"owl/probe/stamp"
)

// A ticker is the clock of a card that runs as the wall clock does, but is ahead.
type ticker struct {
	ahead  time.Duration
	mu     sync.Mutex
	closed int
}

func (c *ticker) Cross() (clock.Crossing, error) {
	now := time.Now().UnixNano()
	return clock.Crossing{Card: now + int64(c.ahead), Wall: now, Error: 100}, nil
}

func (c *ticker) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed++
	return nil
}

// at returns the card's time at a time of the wall clock.
func (c *ticker) at(t owamp.Timestamp) int64 {
	sec, nsec := t.Unix()
	return sec*1e9 + nsec + int64(c.ahead)
}

// card returns a card of which two crossings are known.
func card(t *testing.T, c *ticker) *stamp.Card {
	t.Helper()
	card := stamp.NewCard("eth0", c)
	card.Receives, card.Sends = true, true
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		card.Run(ctx)
	}()
	for deadline := time.Now().Add(20 * time.Second); ; {
		if _, _, ok := card.Wall(c.at(owamp.FromTime(time.Now()))); ok {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("20 s, and the card has no time")
		}
		time.Sleep(time.Millisecond)
	}
	cancel()
	<-done
	return card
}

// A packet has the best stamp that there is.
func TestStampSources(t *testing.T) {
	ahead := &ticker{ahead: 37 * time.Second}
	nic := card(t, ahead)
	e := newEngine(t, Config{})
	d := delivery{
		clock: e.clock, kernel: true, engine: e, now: e.clock.Now(),
		kernelErr: e.clock.Error(time.Microsecond), userErr: e.clock.Error(time.Millisecond),
		cards: map[uint32]*stamp.Card{7: nic},
	}
	at := e.clock.Now()
	for _, tc := range []struct {
		name  string
		a     stamp.Arrival
		flags owamp.RecordFlags
		want  owamp.Timestamp
		err   owamp.ErrorEstimate
	}{
		{"card", stamp.Arrival{Time: at.AddDuration(5000), Card: ahead.at(at), Interface: 7}, owamp.FlagCardStamp, at, 0},
		{"kernel", stamp.Arrival{Time: at}, 0, at, d.kernelErr},
		{"card of another interface", stamp.Arrival{Time: at, Card: ahead.at(at), Interface: 8}, 0, at, d.kernelErr},
		{"a card that is wrong", stamp.Arrival{Time: at, Card: ahead.at(at) - 1e9, Interface: 7}, 0, at, d.kernelErr},
		{"a card without the kernel", stamp.Arrival{Card: ahead.at(at), Interface: 7}, owamp.FlagUserStamp, d.now, d.userErr},
		{"nobody", stamp.Arrival{}, owamp.FlagUserStamp, d.now, d.userErr},
	} {
		var rec owamp.Record
		d.stamp(&rec, &tc.a)
		if rec.Flags != tc.flags {
			t.Errorf("%s: flags %b, want %b", tc.name, rec.Flags, tc.flags)
		}
		if off := rec.Recv.Sub(tc.want); max(off, -off) > rec.RecvErr.Duration() {
			t.Errorf("%s: received %v off, with an error of %v", tc.name, off, rec.RecvErr.Duration())
		}
		if tc.err != 0 && rec.RecvErr != tc.err {
			t.Errorf("%s: error %v, want %v", tc.name, rec.RecvErr.Duration(), tc.err.Duration())
		}
		if tc.err == 0 && rec.RecvErr.Duration() < 100 {
			t.Errorf("%s: error %v, want at least that of the crossing, 100 ns", tc.name, rec.RecvErr.Duration())
		}
	}
	d.run = 6
	e.received.count(&d)
	if st := e.Stamps(); st.ReceivedCard != 1 || st.ReceivedKernel != 3 || st.ReceivedUser != 2 {
		t.Errorf("stamps %+v, want 1 of a card, 3 of the kernel and 2 of our own", st)
	}
	a := stamp.Arrival{Time: at.AddDuration(5000), Card: ahead.at(at), Interface: 7}
	var rec owamp.Record
	if n := testing.AllocsPerRun(100, func() { d.stamp(&rec, &a) }); n != 0 {
		t.Errorf("%v allocations a packet, want none", n)
	}
}

// A card's report is one of the same packet, by another clock.
func TestDeparturesOfCards(t *testing.T) {
	behind := &ticker{ahead: -time.Hour}
	nic := card(t, behind)
	c := clock.New(clock.Config{})
	d := newDepartures(c, true)
	r := &reporter{enabled: true, card: nic}
	s := &Sending{}
	for _, tc := range []struct {
		name  string
		from  *stamp.Card
		gap   time.Duration
		raw   int64 // instead of the gap
		known bool
	}{
		{"as usual", nic, 3 * time.Microsecond, 0, true},
		{"by as much too early as the clocks may be off", nic, -50, 0, true},
		{"before it was sent", nic, -time.Millisecond, 0, false},
		{"much later", nic, 2 * time.Second, 0, false},
		{"another clock", nic, 0, time.Now().UnixNano(), false},
		{"of no card", nil, 3 * time.Microsecond, 0, false},
	} {
		r.card = tc.from
		sent := c.Now()
		d.asks[3] = ask{reporter: r, id: 9, sent: sent, session: s}
		d.asked.Add(1)
		d.waiting.Add(1)
		report := stamp.Report{ID: 9, Card: behind.at(sent.AddDuration(tc.gap))}
		if tc.raw != 0 {
			report.Card = tc.raw
		}
		before := d.stats()
		d.match(r, report)
		after := d.stats()
		if known := after.Gap.Packets > before.Gap.Packets; known != tc.known || after.Missing-before.Missing != after.Asked-before.Asked+uint64(b2i(!tc.known)) {
			t.Errorf("%s: gap known %t, missing %d more", tc.name, known, after.Missing-before.Missing)
		}
		if got := time.Duration(s.gap.Load()); tc.known && (got < tc.gap || got > max(tc.gap, 0)+10*time.Microsecond) {
			t.Errorf("%s: gap %v, want %v and what the clocks may be off", tc.name, got, tc.gap)
		}
	}
	if n := d.cards.Load(); n != 2 {
		t.Errorf("%d reports of the card, want 2", n)
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// The card of an interface is asked for once, said so in one line, and let go of.
func TestCards(t *testing.T) {
	a, _ := netlab.NewVeth(t)
	for _, tc := range []struct {
		name, line string
		err        error
	}{
		{"used", "stamped by a network card", nil},
		{"none", "no time stamps of hardware", fmt.Errorf("interface eth0: %w", stamp.ErrNoCard)},
		{"forbidden", "operation not permitted", unix.EPERM},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var log bytes.Buffer
			e, err := New(Config{Clock: clock.New(clock.Config{}), Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
			if err != nil {
				t.Fatal(err)
			}
			if !e.kernel {
				t.Skipf("SKIPPED: %v", e.stamps.Err)
			}
			var asked []string
			c := &ticker{ahead: time.Hour}
			e.cards.open = func(_ int, name string) (*stamp.Card, error) {
				asked = append(asked, name)
				if name == "lo" {
					return nil, fmt.Errorf("interface lo: %w", stamp.ErrNoCard)
				}
				if tc.err != nil {
					return nil, tc.err
				}
				card := stamp.NewCard(name, c)
				card.Receives = true
				return card, nil
			}
			listen(t, e, loopback4)
			if len(asked) != 0 {
				t.Errorf("a port of the loopback interface asked for the cards of %v", asked)
			}
			for _, addr := range []netip.Addr{a.Addr4, a.Addr6, a.Addr4} {
				p := listenWithin(t, e, a, PortConfig{Addr: addr, Device: "eth0"})
				if (p.card != nil) != (tc.err == nil) {
					t.Errorf("port %v has a card: %t", addr, p.card != nil)
				}
			}
			st := e.Stamps()
			if err := e.Close(); err != nil {
				t.Error(err)
			}
			within(t, a, func() error {
				if card := e.cards.of(&Port{engine: e, addr: netip.AddrPortFrom(a.Addr4, 1), device: "eth0"}); card != nil {
					t.Errorf("card %q of an engine that is closed", card.Name)
				}
				return nil
			})
			if fmt.Sprint(asked) != "[eth0]" {
				t.Errorf("asked for the cards of %v, want eth0 once", asked)
			}
			if n := strings.Count(log.String(), tc.line); n != 1 {
				t.Errorf("%d lines with %q, want one:\n%s", n, tc.line, log.String())
			}
			switch {
			case tc.err == nil && (len(st.Cards) != 1 || st.Cards[0].Interface != "eth0" || c.closed != 1):
				t.Errorf("cards %+v, closed %d times, want one that is closed", st.Cards, c.closed)
			case tc.err != nil && len(st.Cards) != 0:
				t.Errorf("cards %+v, want none", st.Cards)
			}
		})
	}
	t.Run("user stamps", func(t *testing.T) {
		e := newEngine(t, Config{UserStamps: true})
		e.cards.open = func(int, string) (*stamp.Card, error) {
			t.Error("asked for a card, although its stamps are not wanted")
			return nil, errors.New("no")
		}
		listenWithin(t, e, a, PortConfig{Addr: a.Addr4})
	})
}
