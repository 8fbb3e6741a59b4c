package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"owl/archive/queue"
	"owl/archive/retry"
	"owl/internal/bubble"
)

// times are when a destination was tried, since begun.
func times(begun time.Time, after *[]time.Duration) func(context.Context, *Item, int) error {
	return func(context.Context, *Item, int) error {
		*after = append(*after, time.Since(begun))
		return errors.New("no")
	}
}

// A policy is followed to the letter, and then the result is dead.
func TestPolicyWaits(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var after []time.Duration
		f := &fake{deliver: times(time.Now(), &after)}
		policy := retry.Policy{{Attempts: 1, Wait: time.Minute}, {Attempts: 1, Wait: 5 * time.Minute}, {Attempts: 2, Wait: 10 * time.Minute}}
		_, q := dispatch(t, map[string]*fake{"a": f}, policy, `{"archiver": "a", "data": {}}`)
		put(t, q, "1")
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		want := []time.Duration{0, time.Minute, 6 * time.Minute, 16 * time.Minute, 26 * time.Minute}
		if !slices.Equal(rounded(after), want) {
			t.Errorf("tried after %v, want %v", after, want)
		}
		all, err := q.List(t.Context(), queue.Selection{}, 10)
		if err != nil || len(all) != 1 || all[0].State != queue.Dead || all[0].Tries != 5 || all[0].Error != "no" {
			t.Errorf("%+v, %v: want one dead after 5 tries", all, err)
		}
		// Who wants it can have it tried again, by the whole policy.
		after = nil
		if n, err := q.Retry(t.Context(), queue.Selection{State: queue.Dead}); n != 1 || err != nil {
			t.Errorf("%d results are retried, %v; want 1", n, err)
		}
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if len(after) != 5 {
			t.Errorf("%d tries, want 5", len(after))
		}
	})
}

// rounded are durations without the milliseconds in which things are noted.
func rounded(all []time.Duration) (r []time.Duration) {
	for _, d := range all {
		r = append(r, d.Round(100*time.Millisecond))
	}
	return r
}

// Without a policy waits grow until the result's time is over.
func TestGrowingWaits(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var after []time.Duration
		f := &fake{deliver: times(time.Now(), &after)}
		_, q := dispatch(t, map[string]*fake{"a": f}, nil, `{"archiver": "a", "data": {}, "ttl": "PT40M"}`)
		put(t, q, "1")
		time.Sleep(time.Hour)
		synctest.Wait()
		want := []time.Duration{0}
		for d := 5 * time.Second; want[len(want)-1]+d < 40*time.Minute; d *= 2 {
			want = append(want, want[len(want)-1]+d)
		}
		if !slices.Equal(rounded(after), want) {
			t.Errorf("tried after %v, want %v", rounded(after), want)
		}
		s, err := q.Stats(t.Context())
		if err != nil || s.Lines[0].Dropped[queue.ReasonTTL] != 1 || s.Lines[0].Waiting != 0 {
			t.Errorf("%+v, %v: want one dropped, none waiting", s.Lines[0], err)
		}
	})
}

// What a destination says about when counts, and not a policy.
func TestAgainWaits(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		begun := time.Now()
		var after []time.Duration
		f := &fake{deliver: func(_ context.Context, _ *Item, n int) error {
			after = append(after, time.Since(begun))
			switch {
			case n < 3:
				return fmt.Errorf("wrapped: %w", &AgainError{errors.New("busy"), 10 * time.Second})
			case n == 3:
				return &AgainError{errors.New("very busy"), 1<<63 - 1}
			}
			return nil
		}}
		_, q := dispatch(t, map[string]*fake{"a": f}, retry.Policy{{Attempts: 1, Wait: time.Hour}}, `{"archiver": "a", "data": {}}`)
		put(t, q, "1")
		time.Sleep(time.Hour)
		synctest.Wait()
		if want := []time.Duration{0, 10 * time.Second, 20 * time.Second, 30 * time.Second}; !slices.Equal(rounded(after), want) {
			t.Errorf("tried after %v, want %v", after, want)
		}
	})
}

// A destination that fails is left alone for longer and longer, but at most a
// minute; when it is back, it gets all at once.
func TestOutage(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		begun := time.Now()
		const outage = time.Hour
		var tries []time.Duration
		f := &fake{deliver: func(context.Context, *Item, int) error {
			if after := time.Since(begun); after < outage {
				tries = append(tries, after)
				return errors.New("down")
			}
			return nil
		}}
		d, q := dispatch(t, map[string]*fake{"a": f}, nil, `{"archiver": "a", "data": {}}`)
		var ids []string
		for i := range 200 {
			ids = append(ids, fmt.Sprint(i))
		}
		put(t, q, ids...)
		time.Sleep(outage / 2)
		synctest.Wait()
		s := d.Status()[0]
		if s.Since.Sub(begun).Round(time.Second) != 0 || s.Error != "down" || !s.Resuming.After(time.Now()) {
			t.Errorf("status %+v", s)
		}
		time.Sleep(outage/2 + 2*time.Minute)
		synctest.Wait()
		got := len(f.all())
		if got != len(ids) {
			t.Errorf("%d results have come two minutes after the outage, want %d", got, len(ids))
		}
		if max := int(outage/time.Minute) + 10; len(tries) < max/2 || len(tries) > max {
			t.Errorf("%d tries within %v, want about one a minute", len(tries), outage)
		}
		for i := 2; i+1 < len(tries); i++ {
			if wait := (tries[i+1] - tries[i]).Round(time.Second); wait > longestPause || i > 10 && wait != longestPause {
				t.Errorf("%v between two tries, want %v at most, and in the end", wait, longestPause)
			}
		}
		s = d.Status()[0]
		if !s.Since.IsZero() || s.Error != "" || !s.Resuming.IsZero() {
			t.Errorf("status %+v, want nothing the matter", s)
		}
	})
}

// A destination that hangs loses its try after some time, and keeps nobody waiting.
func TestHanging(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var after []time.Duration
		begun := time.Now()
		hangs := &fake{deliver: func(ctx context.Context, _ *Item, n int) error {
			after = append(after, time.Since(begun))
			if n < 2 {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}}
		fine := new(fake)
		_, q := dispatch(t, map[string]*fake{"hangs": hangs, "fine": fine}, retry.Policy{{Attempts: 5, Wait: time.Second}},
			`{"archiver": "hangs", "data": {}}`, `{"archiver": "fine", "data": {}}`)
		put(t, q, "1", "2", "3")
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(fine.all()); n != 3 {
			t.Errorf("%d results have come beside one that hangs, want 3", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if want := []time.Duration{0, deliveryTimeout, 2 * deliveryTimeout}; len(after) != 5 || !slices.Equal(rounded(after[:3]), want) {
			t.Errorf("tried after %v, want after %v, and two more", after, want)
		}
		if n := len(hangs.all()); n != 3 {
			t.Errorf("%d results have come, want 3", n)
		}
	})
}

// At the end what is due is delivered, as long as there is time; the rest stays.
func TestDrain(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		slow := &fake{deliver: func(ctx context.Context, _ *Item, _ int) error {
			select {
			case <-time.After(time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
		down := &fake{deliver: func(context.Context, *Item, int) error { return errors.New("down") }}
		d, q := dispatch(t, map[string]*fake{"slow": slow, "down": down}, nil, `{"archiver": "slow", "data": {}}`, `{"archiver": "down", "data": {}}`)
		put(t, q, "1", "2", "3", "4", "5", "6", "7", "8")
		ctx, cancel := context.WithTimeout(t.Context(), 5500*time.Millisecond)
		defer cancel()
		begun := time.Now()
		d.Close(ctx)
		if took := time.Since(begun); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("the end took %v, want 5.5 s", took)
		}
		if n := len(slow.all()); n != 5 {
			t.Errorf("%d results have come, want 5", n)
		}
		if n := down.calls; n < 2 || n > 3 {
			t.Errorf("%d tries of what is down, want no more than before the end", n)
		}
		all, err := q.List(t.Context(), queue.Selection{Destination: "slow"}, 100)
		if err != nil || len(all) != 3 || all[0].ID != "6" || all[0].Tries != 0 {
			t.Errorf("left are %+v, %v; want 6 to 8, not tried", all, err)
		}
		if err := d.Set(t.Context(), nil); err == nil || err.Error() != "archiving has ended" {
			t.Errorf("error %v", err)
		}
	})
}

// One that does not stop is left behind.
func TestDoesNotStop(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		deaf := &fake{deliver: func(context.Context, *Item, int) error { <-release; return nil }}
		d, q := dispatch(t, map[string]*fake{"deaf": deaf}, nil, `{"archiver": "deaf", "data": {}}`)
		put(t, q, "1")
		synctest.Wait()
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		d.Close(ctx)
		if took := time.Since(begun); took != 5*time.Second+stopTimeout {
			t.Errorf("the end took %v, want %v", took, 5*time.Second+stopTimeout)
		}
		close(release)
		synctest.Wait()
		s, err := q.Stats(t.Context())
		if err != nil || s.Lines[0].Delivered != 1 {
			t.Errorf("%+v, %v: want one delivered, though late", s, err)
		}
	})
}

// A destination whose specification changes, and whose label does not, has what
// was on its way tried again, in its order.
func TestChangedDestination(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		hangs := &fake{deliver: func(ctx context.Context, _ *Item, _ int) error { <-ctx.Done(); return ctx.Err() }}
		fine := new(fake)
		d, q := dispatch(t, map[string]*fake{"hangs": hangs, "fine": fine}, nil, `{"archiver": "hangs", "data": {}, "schema": 3, "label": "here"}`)
		put(t, q, "1", "2", "3")
		synctest.Wait()
		if err := d.Set(t.Context(), parse(t, `{"archiver": "fine", "data": {}, "schema": 3, "label": "here", "uri-host": "example.org:8443"}`)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got, want := strings.Join(fine.all(), ", "), `1 {"id":"1"}, 2 {"id":"2"}, 3 {"id":"3"}`; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if hangs.calls != 1 {
			t.Errorf("%d tries of the one that hangs, want 1", hangs.calls)
		}
	})
}

// Several may be on their way at once, if the destination says so.
func TestParallel(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		busy, most := 0, 0
		f := &fake{}
		f.deliver = func(context.Context, *Item, int) error {
			f.mu.Lock()
			busy++
			most = max(most, busy)
			f.mu.Unlock()
			time.Sleep(time.Second)
			f.mu.Lock()
			busy--
			f.mu.Unlock()
			return nil
		}
		_, q := dispatchTo(t, func(*Spec) (Opened, error) { return Opened{Destination: f, Parallel: 4}, nil }, `{"archiver": "a", "data": {}}`)
		put(t, q, "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12")
		time.Sleep(3100 * time.Millisecond)
		synctest.Wait()
		if n := len(f.all()); n != 12 || most != 4 {
			t.Errorf("%d results have come in 3 s, %d at once at most; want 12, 4", n, most)
		}
	})
}
