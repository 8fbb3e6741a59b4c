package sessions

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/probe"
	"owl/sessions/internal/memwire"
	"owl/sessions/ports"
)

// A cohort whose seats are all empty when it is to find out whether a server is
// back does not keep the others from finding out.
func TestEmptyCohort(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		away := errors.New("no route to host")
		dialled := 0
		b := NewBroker(BrokerConfig{
			Clock: new(memwire.Clock),
			Dial:  func(context.Context) (Path, error) { dialled++; return Path{}, away },
		})
		b.missed(away)
		over := owamp.FromTime(time.Now().Add(time.Minute))
		seat := b.board(time.Now(), over)
		seat.mu.Lock()
		seat.empty() // by who has not told the broker yet
		seat.mu.Unlock()
		time.Sleep(2 * firstRetry)
		b.drop(seat.cohort)
		<-seat.done

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		next := b.board(time.Now(), over)
		if _, _, err := next.connect(ctx); !errors.Is(err, away) || dialled != 1 {
			t.Errorf("%v after %d tries, want %v of one", err, dialled, away)
		}
		next.leave()
	})
}

// A session whose connection is given up because of another one's ports has
// nothing against its own.
func TestAnewForAnother(t *testing.T) {
	local, peer := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	pool := ports.NewPool(new(memwire.Network), probe.PortRange{}, "")
	defer pool.Close()
	for answer, unfit := range map[error]int{errAnew: 0, errTaken: 1} {
		c := newCohort(NewBroker(BrokerConfig{Clock: new(memwire.Clock)}))
		c.departed = true
		s := &session{Stream: &Stream{pool: pool}, fixed: true, seat: c.add(time.Now(), 0)}
		var playing sync.WaitGroup
		playing.Go(func() { // who runs the cohort
			for _, r := range []reply{{path: Path{Local: local, Peer: peer}}, {err: answer}} {
				_, asking := c.turn()
				c.tell(asking, r)
			}
		})
		if err := s.negotiate(t.Context()); !errors.Is(err, errAnew) || len(s.unfit) != unfit || (s.lease == nil) != (unfit == 1) {
			t.Errorf("%v: %v, %d unfit ports, lease %v; want %d", answer, err, len(s.unfit), s.lease, unfit)
		}
		playing.Wait()
		s.forgetUnfit()
		if s.lease != nil {
			s.lease.Release(0)
		}
	}
}
