package ui

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/internal/bubble"
)

// clockwork has streams that count how often they were asked for.
type clockwork struct {
	mu    sync.Mutex
	asked uint64
	more  int
}

func (c *clockwork) Streams() []LiveStream {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	a, b, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("192.0.2.3")
	all := []LiveStream{
		{Source: a, Destination: b, SourceName: "a.example", Direction: "send", Received: 10 * c.asked, Lost: 1, Median: 1500 * time.Microsecond, P95: 2 * time.Millisecond, Max: time.Second, ClockError: time.Millisecond},
		{Source: b, Destination: a, Direction: "receive", Lost: 10},
		{Source: a, Destination: other, Direction: "send"},
	}
	for range c.more {
		all = append(all, all[2])
	}
	return all
}

// watch asks for what is live until ctx ends; it returns the events when that is
// over.
func watch(ctx context.Context, page http.Handler, query string) (status int, events func() []second) {
	r := httptest.NewRecorder()
	q := httptest.NewRequest(http.MethodGet, "/api/live?"+query, nil).WithContext(ctx)
	var done sync.WaitGroup
	done.Go(func() { page.ServeHTTP(r, q) })
	synctest.Wait()
	return r.Code, func() (all []second) {
		done.Wait()
		for event := range strings.SplitSeq(strings.TrimSpace(r.Body.String()), "\n\n") {
			var s second
			if json.Unmarshal([]byte(strings.TrimPrefix(event, "data: ")), &s) == nil {
				all = append(all, s)
			}
		}
		return all
	}
}

func TestLive(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		live := &clockwork{more: 300}
		page := New(nil, Options{Live: live})
		ctx, cancel := context.WithCancel(t.Context())
		_, pair := watch(ctx, page, "source=2001:db8::2&destination=192.0.2.1")
		_, all := watch(ctx, page, "")
		time.Sleep(3*time.Second + time.Second/2)
		cancel()
		got := pair()
		ms := func(n time.Duration) *millis { return new(millis(n)) }
		want := []streamSecond{
			{Source: "192.0.2.1", Destination: "2001:db8::2", SourceName: "a.example", DestinationName: "2001:db8::2", Direction: "send", Received: 10, Lost: 1, Median: ms(1500 * time.Microsecond), P95: ms(2 * time.Millisecond), Max: ms(time.Second), ClockError: ms(time.Millisecond)},
			{Source: "2001:db8::2", Destination: "192.0.2.1", SourceName: "2001:db8::2", DestinationName: "192.0.2.1", Direction: "receive", Lost: 10},
		}
		if len(got) != 4 {
			t.Fatalf("%d events in 3.5 s, want 4", len(got))
		}
		for i, s := range got {
			want[0].Received = uint64(10 * (i + 1))
			if diff := cmp.Diff(want, s.Streams); diff != "" || s.Total != 2 {
				t.Errorf("event %d of %d streams (-want +got)\n%s", i, s.Total, diff)
			}
		}
		if s := all()[0]; s.Total != 303 || len(s.Streams) != mostLive {
			t.Errorf("%d streams of %d, want %d of 303", len(s.Streams), s.Total, mostLive)
		}
		if live.asked != 4 {
			t.Errorf("asked %d times by two who watch for 3.5 s, want 4", live.asked)
		}
	})
}

// UnmarshalJSON is for tests.
func (m *millis) UnmarshalJSON(b []byte) error {
	var ms float64
	err := json.Unmarshal(b, &ms)
	*m = millis(ms * float64(time.Millisecond))
	return err
}

func TestLiveSeats(t *testing.T) {
	t.Parallel()
	bubble.Test(t, func(t *testing.T) {
		page := New(nil, Options{Live: &clockwork{}})
		ctx, cancel := context.WithCancel(t.Context())
		for range watchers {
			if code, _ := watch(ctx, page, ""); code != http.StatusOK {
				t.Fatalf("%d, want 200", code)
			}
		}
		if code, _ := watch(ctx, page, ""); code != http.StatusServiceUnavailable {
			t.Errorf("one too many: %d, want 503", code)
		}
		cancel()
		synctest.Wait()
		ctx, cancel = context.WithCancel(t.Context())
		if code, _ := watch(ctx, page, ""); code != http.StatusOK {
			t.Errorf("once they have gone: %d, want 200", code)
		}
		cancel()
		synctest.Wait()
	})
}
