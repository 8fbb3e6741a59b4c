package ui

import (
	"context"
	"testing"
	"time"

	"owl/internal/bubble"
)

// TestGridGivenUp says that a grid is made to its end if anybody waits for it, and
// no longer than that.
func TestGridGivenUp(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		var c gridCache
		begun := make(chan struct{}, 9)
		end, givenUp := make(chan struct{}), make(chan struct{}, 9)
		read := func(ctx context.Context) (*gridAnswer, error) {
			begun <- struct{}{}
			select {
			case <-end:
				return &gridAnswer{Tests: 7}, nil
			case <-ctx.Done():
				givenUp <- struct{}{}
				return nil, ctx.Err()
			}
		}
		ask := func(ctx context.Context) chan *gridAnswer {
			got := make(chan *gridAnswer, 1)
			go func() {
				g, _ := c.get(ctx, span{1, 2}, read)
				got <- g
			}()
			return got
		}
		impatient, leave := context.WithCancel(t.Context())
		first := ask(impatient)
		<-begun
		second := ask(t.Context())
		time.Sleep(2 * gridAge) // it takes longer than one is kept: still it is made once
		third := ask(t.Context())
		time.Sleep(time.Second)
		leave()
		if g := <-first; g != nil {
			t.Errorf("who has gone gets %+v", g)
		}
		close(end)
		for _, got := range []chan *gridAnswer{second, third} {
			if g := <-got; g == nil || g.Tests != 7 {
				t.Errorf("who has waited gets %+v", g)
			}
		}
		if n := len(begun); n != 0 {
			t.Errorf("made %d times more", n)
		}

		time.Sleep(2 * gridAge)
		end = make(chan struct{}) // for ever
		impatient, leave = context.WithCancel(t.Context())
		asked := time.Now()
		first = ask(impatient)
		<-begun
		leave()
		<-first
		<-givenUp
		if took := time.Since(asked); took >= gridTime {
			t.Errorf("a grid that nobody waits for is made for %v", took)
		}
	})
}

// TestGridsKept says that no more than some grids are kept.
func TestGridsKept(t *testing.T) {
	t.Parallel()
	var c gridCache
	for i := range int64(100) {
		if _, err := c.get(t.Context(), span{i, i + 1}, func(context.Context) (*gridAnswer, error) { return &gridAnswer{}, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.all); n > mostGrids {
		t.Errorf("%d grids are kept, want %d at most", n, mostGrids)
	}
}
