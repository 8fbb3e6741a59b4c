package ui

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// Live tells what is measured right now.
type Live interface {
	// Streams returns the last whole second of each stream, in an order that
	// stays. It is asked once a second at most, and only while somebody watches.
	// What it returns is not changed afterwards.
	Streams() []LiveStream
}

// A LiveStream is the last second of a stream.
type LiveStream struct {
	Source, Destination         netip.Addr // as in the metadata of its results
	SourceName, DestinationName string     // input-source and input-destination; empty: the addresses
	Direction                   string     // send or receive, for the host that tells
	Received, Lost              uint64     // packets that were settled in this second
	// Delays of those received; they mean nothing without any.
	Median, P95, Max time.Duration
	ClockError       time.Duration // what both clocks may be wrong by; 0: not known
}

const (
	watchers   = 32              // at once
	mostLive   = 200             // streams that a watcher gets
	liveEvery  = time.Second     // between two events
	liveWrites = 5 * time.Second // that one event may take
)

// A feed has what is live for all who watch. The zero feed, of nothing live, is
// good.
type feed struct {
	live  Live
	seats chan struct{}

	mu   sync.Mutex // guards what follows
	at   time.Time
	last []LiveStream
}

func newFeed(l Live) *feed { return &feed{live: l, seats: make(chan struct{}, watchers)} }

// streams returns the streams as of now, asking no more often than they change.
func (f *feed) streams(now time.Time) []LiveStream {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.at) >= liveEvery*9/10 || now.Before(f.at) {
		f.last, f.at = f.live.Streams(), now
	}
	return f.last
}

// A second is an event of the feed.
type second struct {
	Time    int64          `json:"time"`  // milliseconds since 1970
	Total   int            `json:"total"` // streams that there are, Streams being the first of them
	Streams []streamSecond `json:"streams"`
}

type streamSecond struct {
	Source          string  `json:"source"`
	Destination     string  `json:"destination"`
	SourceName      string  `json:"source_name"`
	DestinationName string  `json:"destination_name"`
	Direction       string  `json:"direction"`
	Received        uint64  `json:"received"`
	Lost            uint64  `json:"lost"`
	Median          *millis `json:"median"`
	P95             *millis `json:"p95"`
	Max             *millis `json:"max"`
	ClockError      *millis `json:"clock_error"`
}

// millis is a duration as milliseconds.
type millis time.Duration

// MarshalJSON implements [json.Marshaler].
func (m millis) MarshalJSON() ([]byte, error) {
	return figure(time.Duration(m).Seconds() * 1000).append(nil), nil
}

// serveLive answers GET /api/live: an event a second until the peer goes. With
// source and destination it has the streams between these two, either way.
func (h *handler) serveLive(w http.ResponseWriter, r *http.Request) {
	if h.Live == nil {
		fail(w, http.StatusNotFound, "nothing is measured in this process")
		return
	}
	select {
	case h.feed.seats <- struct{}{}:
		defer func() { <-h.feed.seats }()
	default:
		w.Header().Set("Retry-After", "10")
		fail(w, http.StatusServiceUnavailable, "too many watch already")
		return
	}
	a, b := r.URL.Query().Get("source"), r.URL.Query().Get("destination")
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	// Where the connection has no deadlines, as in a test, it does not matter.
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	tick := time.NewTicker(liveEvery)
	defer tick.Stop()
	for {
		event, err := json.Marshal(secondOf(h.feed.streams(time.Now()), a, b))
		if err != nil {
			return
		}
		_ = control.SetWriteDeadline(time.Now().Add(liveWrites))
		if _, err := w.Write(append(append([]byte("data: "), event...), "\n\n"...)); err != nil {
			return
		}
		if control.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// secondOf returns the event that tells of streams: of those between a and b, or
// of all if both are empty.
func secondOf(streams []LiveStream, a, b string) second {
	s := second{Time: time.Now().UnixMilli(), Streams: []streamSecond{}}
	for i := range streams {
		l := &streams[i]
		e := streamSecond{
			Source: l.Source.String(), Destination: l.Destination.String(),
			SourceName: l.SourceName, DestinationName: l.DestinationName,
			Direction: l.Direction, Received: l.Received, Lost: l.Lost,
		}
		forth := e.Source == a && e.Destination == b
		back := e.Source == b && e.Destination == a
		if (a != "" || b != "") && !forth && !back {
			continue
		}
		if s.Total++; s.Total > mostLive {
			continue
		}
		if e.SourceName == "" {
			e.SourceName = e.Source
		}
		if e.DestinationName == "" {
			e.DestinationName = e.Destination
		}
		if l.Received > 0 {
			e.Median, e.P95, e.Max = new(millis(l.Median)), new(millis(l.P95)), new(millis(l.Max))
		}
		if l.ClockError > 0 {
			e.ClockError = new(millis(l.ClockError))
		}
		s.Streams = append(s.Streams, e)
	}
	return s
}
