package main

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"owl/archive/api/ui"
	"owl/archive/dest/esmond"
	"owl/histogram"
	"owl/internal/agentfile"
	"owl/owamp"
	"owl/sessions"
)

const (
	// maxLive bounds how many streams are watched by the second: each has a
	// histogram of its own.
	maxLive = 1000
	// liveTime is for how long streams are watched for somebody who has looked.
	liveTime = 10 * time.Second
)

// A count is what became of packets.
type count struct{ received, lost, duplicates uint64 }

// A tally counts the packets of a stream since it began, and has the delays of
// those of the second that goes on, while somebody looks.
type tally struct {
	mu     sync.Mutex
	all    count
	before count           // when the last second was taken
	delays *histogram.Live // nil: nobody looks
}

// observe takes note of packets.
func (t *tally) observe(recs []owamp.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range recs {
		switch r := &recs[i]; {
		case r.Lost():
			t.all.lost++
		case r.Flags&owamp.FlagDuplicate != 0:
			t.all.duplicates++
		default:
			t.all.received++
			if t.delays != nil {
				t.delays.Insert(int64(r.Recv.Sub(r.Sent)))
			}
		}
	}
}

// A second is what a stream has seen in the last second, and until then.
type second struct {
	stream   *stream
	snapshot sessions.Snapshot
	all      count // since the stream began
	last     count // in that second; nothing if nobody looked before
	// Delays of the packets received in that second; all are 0 if there were
	// none.
	least, median, p95, most time.Duration
}

// take ends a second and begins the next.
func (t *tally) take() second {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := second{all: t.all}
	if t.delays == nil {
		t.delays = new(histogram.Live)
	} else {
		s.last = count{
			received:   t.all.received - t.before.received,
			lost:       t.all.lost - t.before.lost,
			duplicates: t.all.duplicates - t.before.duplicates,
		}
	}
	t.before = t.all
	if t.delays.Count() > 0 {
		var q [2]int64
		t.delays.Quantiles(q[:], 0.5, 0.95)
		s.least, s.most = time.Duration(t.delays.Min()), time.Duration(t.delays.Max())
		s.median, s.p95 = time.Duration(q[0]), time.Duration(q[1])
		t.delays.Reset()
	}
	return s
}

// rest lets the delays go, because nobody looks any more.
func (t *tally) rest() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.delays = nil
}

// A live is what the streams of an agent have seen in the last second. The zero
// value is ready to be used.
type live struct {
	mu      sync.Mutex
	seconds []second  // in the file's order
	looked  time.Time // when somebody has looked last
}

// look returns what the streams have seen in the last second. It is nothing at
// first, for streams are watched only while somebody looks.
func (l *live) look() []second {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.looked = time.Now()
	return l.seconds
}

// wanted reports whether somebody looks.
func (l *live) wanted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.looked) < liveTime
}

// tick ends a second of all streams, if anybody looks.
func (a *agent) tick() []second {
	a.mu.Lock()
	var streams []*stream
	if a.cfg != nil {
		for i := range a.cfg.Streams {
			if s := a.streams[a.cfg.Streams[i].Key]; s != nil && len(streams) < maxLive {
				streams = append(streams, s)
			}
		}
	}
	a.mu.Unlock()
	wanted := a.live.wanted()
	var all []second
	for _, s := range streams {
		if !wanted {
			s.tally.rest()
			continue
		}
		one := s.tally.take()
		one.stream, one.snapshot = s, s.stream.Snapshot()
		all = append(all, one)
	}
	a.live.mu.Lock()
	defer a.live.mu.Unlock()
	a.live.seconds = all
	return all
}

// watch ends a second of all streams after the other until ctx is done. Each is
// handed to seen, unless that is nil, which may end it.
func (a *agent) watch(ctx context.Context, seen func(now time.Time, all []second) error) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			if seen == nil {
				a.tick()
				continue
			}
			a.live.look() // who is told looks
			if err := seen(now, a.tick()); err != nil {
				return err
			}
		}
	}
}

// A liveFeed shows on the page what the streams of an agent see.
type liveFeed struct {
	agent *agent
	find  func(*stream) // finds the addresses of a stream, in the background
}

// newLiveFeed returns the feed of a. What it finds out takes the time of a's work.
func newLiveFeed(a *agent) *liveFeed {
	unknown := make(chan *stream, maxLive)
	a.work.Go(func() {
		for {
			select {
			case s := <-unknown:
				s.findEnds(a.serving)
			case <-a.serving.Done():
				return
			}
		}
	})
	return &liveFeed{agent: a, find: func(s *stream) {
		select {
		case unknown <- s:
		default: // it is asked again
		}
	}}
}

// Streams implements [ui.Live].
func (f *liveFeed) Streams() []ui.LiveStream {
	all := make([]ui.LiveStream, 0)
	for _, s := range f.agent.live.look() {
		e := s.stream.ends.Load()
		if e == nil {
			f.find(s.stream)
			continue
		}
		l := ui.LiveStream{
			Source: e.source, Destination: e.destination, SourceName: e.sourceName, DestinationName: e.destinationName,
			Direction: string(s.stream.spec.Direction), Received: s.last.received, Lost: s.last.lost,
			Median: s.median, P95: s.p95, Max: s.most,
		}
		if s.snapshot.ClockSynced {
			l.ClockError = s.snapshot.ClockError
		}
		all = append(all, l)
	}
	return all
}

// ends are those of a path, as an archive knows them.
type ends struct {
	source, destination         netip.Addr
	sourceName, destinationName string
}

// findEnds finds out where the archive has what the stream measures.
func (s *stream) findEnds(ctx context.Context) {
	if s.ends.Load() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	e := &ends{sourceName: cmp.Or(s.task.Local, s.task.Host), destinationName: s.task.Remote}
	if s.spec.Direction == agentfile.Receive {
		e.sourceName, e.destinationName = e.destinationName, e.sourceName
	}
	var err error
	e.source, e.destination, err = esmond.Ends(ctx, net.DefaultResolver.LookupNetIP, e.sourceName, e.destinationName)
	if err == nil && e.source.IsValid() {
		s.ends.Store(e)
	}
}
