// Package pool keeps connections between one delivery and the next.
package pool

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// A Pool keeps the connections of a destination that nobody uses for whoever
// wants one next. Its methods may be called by many goroutines at once, each of
// which has a connection for itself.
type Pool[C any] struct {
	// Dial makes a connection.
	Dial func(ctx context.Context) (C, error)
	// Alive reports whether a connection that was kept can be used.
	Alive func(ctx context.Context, conn C) bool
	// Hangup closes a connection.
	Hangup func(conn C)
	// Life is how long after it was made a connection is used; 0: once.
	Life time.Duration

	mu     sync.Mutex
	idle   []*held[C] // the last is the latest used
	closed bool
}

// A held connection is one that is kept, or may be.
type held[C any] struct {
	conn    C
	timer   *time.Timer
	expired bool
}

// errClosed is of a pool that is closed.
var errClosed = errors.New("the destination is closed")

// Use calls use with a connection: one that was kept, or else a new one. It is
// kept afterwards if use says that it can be used again.
func (p *Pool[C]) Use(ctx context.Context, use func(conn C) (again bool, err error)) error {
	h, err := p.get(ctx)
	if err != nil {
		return err
	}
	again := false
	defer func() { p.put(h, again) }() // whatever use does
	again, err = use(h.conn)
	return err
}

// get returns a connection.
func (p *Pool[C]) get(ctx context.Context) (*held[C], error) {
	for {
		h, err := p.take()
		if err != nil {
			return nil, err
		}
		if h == nil {
			break
		}
		if p.Alive(ctx, h.conn) {
			return h, nil
		}
		p.drop(h)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	conn, err := p.Dial(ctx)
	if err != nil {
		return nil, err
	}
	h := &held[C]{conn: conn}
	if p.Life > 0 {
		p.mu.Lock() // expire waits until it can see the timer
		h.timer = time.AfterFunc(p.Life, func() { p.expire(h) })
		p.mu.Unlock()
	}
	return h, nil
}

// take returns a connection that was kept; nil: there is none.
func (p *Pool[C]) take() (*held[C], error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errClosed
	}
	n := len(p.idle)
	if n == 0 {
		return nil, nil
	}
	h := p.idle[n-1]
	p.idle = slices.Delete(p.idle, n-1, n)
	return h, nil
}

// put keeps a connection, or closes it.
func (p *Pool[C]) put(h *held[C], again bool) {
	p.mu.Lock()
	keep := again && h.timer != nil && !h.expired && !p.closed
	if keep {
		p.idle = append(p.idle, h)
	}
	p.mu.Unlock()
	if !keep {
		p.drop(h)
	}
}

// expire ends the life of a connection, when nobody uses it any more.
func (p *Pool[C]) expire(h *held[C]) {
	p.mu.Lock()
	h.expired = true
	i := slices.Index(p.idle, h)
	if i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
	}
	p.mu.Unlock()
	if i >= 0 {
		p.drop(h)
	}
}

// drop closes a connection that nobody uses.
func (p *Pool[C]) drop(h *held[C]) {
	if h.timer != nil {
		h.timer.Stop()
	}
	p.Hangup(h.conn)
}

// Close closes all connections: those in use when they no longer are.
func (p *Pool[C]) Close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, h := range idle {
		p.drop(h)
	}
}
