package sessions

import (
	"context"
	"errors"
	"testing"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/sessions/internal/memwire"
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
