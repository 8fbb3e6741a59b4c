package serve

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// patient bounds how long a request waits for its turns.
const patient = 10 * time.Second

// turns are the requests that are answered at once, so many in all, and half of
// them at most for one address.
type turns struct {
	all   chan struct{}
	share int

	mu sync.Mutex
	of map[netip.Addr]*own // of those who have or want turns
}

// own are the turns of an address.
type own struct {
	turns chan struct{}
	users int // requests that have or want one
}

func newTurns(n int) *turns {
	return &turns{all: make(chan struct{}, n), share: max(n/2, 1), of: make(map[netip.Addr]*own)}
}

// take waits for a turn of an address until ctx ends. Whoever gets one gives it
// back by done.
func (t *turns) take(ctx context.Context, of netip.Addr) (done func(), ok bool) {
	o := t.join(of)
	select {
	case o.turns <- struct{}{}:
	case <-ctx.Done():
		t.leave(of, o)
		return nil, false
	}
	select {
	case t.all <- struct{}{}:
	case <-ctx.Done():
		<-o.turns
		t.leave(of, o)
		return nil, false
	}
	return func() {
		<-t.all
		<-o.turns
		t.leave(of, o)
	}, true
}

func (t *turns) join(a netip.Addr) *own {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.of[a]
	if o == nil {
		o = &own{turns: make(chan struct{}, t.share)}
		t.of[a] = o
	}
	o.users++
	return o
}

func (t *turns) leave(a netip.Addr, o *own) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if o.users--; o.users == 0 {
		delete(t.of, a)
	}
}
