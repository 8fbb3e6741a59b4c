package pool

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
)

// A conn is a connection that knows what became of it.
type conn struct {
	number int
	dead   atomic.Bool
	closed atomic.Int32
	users  atomic.Int32
}

// A server counts who connects.
type server struct {
	mu    sync.Mutex
	conns []*conn
}

func (s *server) dial(context.Context) (*conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &conn{number: len(s.conns)}
	s.conns = append(s.conns, c)
	return c, nil
}

func (s *server) closed() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []int
	for _, c := range s.conns {
		if n := c.closed.Load(); n > 1 {
			panic("closed twice")
		} else if n == 1 {
			all = append(all, c.number)
		}
	}
	return all
}

func newPool(life time.Duration) (*Pool[*conn], *server) {
	s := &server{}
	return &Pool[*conn]{
		Dial:   s.dial,
		Alive:  func(_ context.Context, c *conn) bool { return !c.dead.Load() },
		Hangup: func(c *conn) { c.closed.Add(1) },
		Life:   life,
	}, s
}

// use returns the number of the connection that was used.
func use(t *testing.T, p *Pool[*conn], again bool) int {
	t.Helper()
	number := -1
	if err := p.Use(t.Context(), func(c *conn) (bool, error) { number = c.number; return again, nil }); err != nil {
		t.Fatal(err)
	}
	return number
}

func TestKept(t *testing.T) {
	p, s := newPool(time.Hour)
	got := []int{use(t, p, true), use(t, p, true), use(t, p, false), use(t, p, true), use(t, p, true)}
	s.conns[1].dead.Store(true)
	got = append(got, use(t, p, true))
	if want := []int{0, 0, 0, 1, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("connections %v, want %v", got, want)
	}
	p.Close()
	if got := s.closed(); !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("closed %v, want all", got)
	}
	if err := p.Use(t.Context(), nil); !errors.Is(err, errClosed) {
		t.Errorf("%v, want %v", err, errClosed)
	}
}

// A connection's life begins when it is made, not when it was used last, and one
// that is used when it ends is closed afterwards.
func TestLife(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p, s := newPool(time.Minute)
		defer p.Close()
		use(t, p, true)
		time.Sleep(59 * time.Second)
		if n := use(t, p, true); n != 0 {
			t.Errorf("connection %d, want the first", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := s.closed(); !slices.Equal(got, []int{0}) {
			t.Errorf("closed %v, want the first", got)
		}
		err := p.Use(t.Context(), func(c *conn) (bool, error) {
			time.Sleep(2 * time.Minute)
			synctest.Wait()
			if c.closed.Load() != 0 {
				t.Error("a connection was closed while it was used")
			}
			return true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.closed(); !slices.Equal(got, []int{0, 1}) {
			t.Errorf("closed %v, want both", got)
		}
	})
}

func TestOnce(t *testing.T) {
	p, s := newPool(0)
	if a, b := use(t, p, true), use(t, p, true); a != 0 || b != 1 {
		t.Errorf("connections %d and %d, want one for each", a, b)
	}
	if got := s.closed(); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("closed %v, want both", got)
	}
}

func TestPanic(t *testing.T) {
	p, s := newPool(time.Hour)
	func() {
		defer func() { recover() }()
		p.Use(t.Context(), func(*conn) (bool, error) { panic("x") })
	}()
	if got := s.closed(); !slices.Equal(got, []int{0}) {
		t.Errorf("closed %v, want the connection of what has panicked", got)
	}
}

func TestNoConnection(t *testing.T) {
	p, _ := newPool(time.Hour)
	want := errors.New("no")
	p.Dial = func(context.Context) (*conn, error) { return nil, want }
	if err := p.Use(t.Context(), nil); !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
}

// Nobody shares a connection, and there are no more than users.
func TestParallel(t *testing.T) {
	p, s := newPool(time.Hour)
	const users = 8
	var all sync.WaitGroup
	for range users {
		all.Go(func() {
			for i := range 1000 {
				err := p.Use(t.Context(), func(c *conn) (bool, error) {
					if c.users.Add(1) != 1 || c.closed.Load() != 0 {
						t.Error("a connection that somebody else uses, or nobody")
					}
					c.users.Add(-1)
					return i%100 != 0, nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	p.Close()
	if n := len(s.closed()); n != len(s.conns) || n > users*11 {
		t.Errorf("%d of %d closed, want all, and at most %d", n, len(s.conns), users*11)
	}
}
