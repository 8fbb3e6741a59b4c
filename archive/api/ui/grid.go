package ui

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"owl/archive/series"
	"owl/archive/store"
)

const (
	// mostGridTests is how many measurements are looked at for a grid: those between
	// two hundred hosts that all measure each other. Metadata are large, so they
	// are looked at page by page.
	mostGridTests = 40_000
	gridPage      = 500
	// gridWindows is about how many windows a cell is made of, and gridValues
	// how many readings where there are no such windows.
	gridWindows = 31
	gridValues  = 2_000
	// gridReaders read at the same time.
	gridReaders = 4
	// gridAge is how long a grid is good for others who ask for the same.
	gridAge   = 10 * time.Second
	gridTime  = time.Minute // that one may take
	mostGrids = 16          // that are kept for others
)

// A gridAnswer is what there is between all hosts.
type gridAnswer struct {
	span
	Now    int64  `json:"now"`
	Live   bool   `json:"live"`
	Hosts  []host `json:"hosts"` // by name
	Cells  []cell `json:"cells"`
	Tests  int    `json:"tests"`         // measurements that there are
	Beyond int    `json:"tests_omitted"` // of which so many were not looked at
}

// A cell is what there is from one host to another.
type cell struct {
	Source      int    `json:"source"` // its place in the list of hosts
	Destination int    `json:"destination"`
	Key         string `json:"key"`
	Tests       int    `json:"tests"` // that there are; the one that has sent the most is shown
	Kind        string `json:"kind"`  // one-way or rtt
	State       state  `json:"state"`
	Updated     int64  `json:"updated"` // when it was written last; 0: never
	Last        int64  `json:"last"`    // until when there are data; 0: there are none
	Sent        figure `json:"sent"`
	Lost        figure `json:"lost"`
	Worst       figure `json:"worst"` // of the windows that the cell was made of
	delays
}

// A state says whether there are data.
type state string

const (
	fresh state = "fresh"
	stale state = "stale" // there are, and should be later ones
	none  state = "none"
)

// grid answers /api/grid.
func (h *handler) grid(r *http.Request) (table, error) {
	p, err := parametersOf(r)
	if err != nil {
		return nil, err
	}
	now := h.Now().Unix()
	s, err := p.span(now)
	if err != nil {
		return nil, err
	}
	// Those who look at the last hour look at the same one for a while.
	const round = int64(gridAge / time.Second)
	s.From, s.To = series.WindowStart(s.From, round), series.WindowStart(s.To+round-1, round)
	return h.grids.get(r.Context(), s, func(ctx context.Context) (*gridAnswer, error) { return h.newGrid(ctx, s, now) })
}

// A gridCache has the grids that were made last, and those that are being made.
type gridCache struct {
	mu  sync.Mutex
	all map[span]*cached
}

// A cached grid is made as long as somebody waits for it.
type cached struct {
	begun   time.Time
	waiting int // who want it; guarded by the cache
	cancel  context.CancelFunc
	done    chan struct{} // closed when what follows is there
	answer  *gridAnswer
	err     error
}

// made reports whether a grid is no longer being made.
func (g *cached) made() bool {
	select {
	case <-g.done:
		return true
	default:
		return false
	}
}

// get returns the grid of a span, which is made once for all who want it at that
// time.
func (c *gridCache) get(ctx context.Context, s span, read func(context.Context) (*gridAnswer, error)) (*gridAnswer, error) {
	c.mu.Lock()
	maps.DeleteFunc(c.all, func(_ span, g *cached) bool { return g.made() && time.Since(g.begun) > gridAge })
	g := c.all[s]
	if g == nil {
		g = c.begin(ctx, s, read)
	}
	g.waiting++
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if g.waiting--; g.waiting == 0 {
			g.cancel()
			if !g.made() {
				c.forget(s, g)
			}
		}
	}()
	select {
	case <-g.done:
		return g.answer, g.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// begin has the grid of a span made. It is called with the lock held.
func (c *gridCache) begin(ctx context.Context, s span, read func(context.Context) (*gridAnswer, error)) *cached {
	if c.all == nil {
		c.all = make(map[span]*cached)
	}
	if len(c.all) >= mostGrids { // who asks for so many wants none of them again
		maps.DeleteFunc(c.all, func(_ span, g *cached) bool { return g.made() })
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), gridTime) // others may want it when the first has gone
	g := &cached{begun: time.Now(), cancel: cancel, done: make(chan struct{})}
	c.all[s] = g
	go func() {
		defer cancel()
		g.answer, g.err = read(ctx)
		if g.err != nil {
			c.mu.Lock()
			c.forget(s, g)
			c.mu.Unlock()
		}
		close(g.done)
	}()
	return g
}

// forget removes a grid, unless another has taken its place. It is called with the
// lock held.
func (c *gridCache) forget(s span, g *cached) {
	if c.all[s] == g {
		delete(c.all, s)
	}
}

// newGrid reads a grid.
func (h *handler) newGrid(ctx context.Context, s span, now int64) (*gridAnswer, error) {
	m := &mesh{names: make(map[string]string), pairs: make(map[hostPair]*cell)}
	shownTypes := []series.EventType{oneWay.delays, oneWay.losses, roundTrip.delays, roundTrip.losses}
	for i, t := range shownTypes {
		f := &store.Filter{SubjectType: series.PointToPoint, Event: t, Limit: gridPage}
		for left := 0; ; {
			found, total, err := h.store.Search(ctx, f)
			if err != nil {
				return nil, err
			}
			if f.After == "" {
				left = total
			}
			if m.tests >= mostGridTests {
				m.beyond += max(left, 0) // more may have come since it was counted
				break
			}
			all := make([]*measurement, 0, len(found))
			for _, metadata := range found {
				before := slices.ContainsFunc(shownTypes[:i], func(t series.EventType) bool { return metadata.Event(t) != nil })
				if one, ok := measurementOf(metadata); ok && !before {
					all = append(all, one)
				}
			}
			read := make([]cell, len(all))
			if err := h.readCells(ctx, all, read, s, now); err != nil {
				return nil, err
			}
			for i := range all {
				m.add(all[i], &read[i])
			}
			if len(found) < gridPage {
				break
			}
			f.After, left = found[len(found)-1].Key, left-len(found)
		}
	}
	answer := m.arranged()
	answer.span, answer.Now, answer.Live = s, now, h.Live != nil
	return answer, nil
}

// readCells reads a cell for each measurement.
func (h *handler) readCells(ctx context.Context, all []*measurement, cells []cell, s span, now int64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var readers sync.WaitGroup
	for range gridReaders {
		readers.Go(func() {
			for i := range next {
				c, err := h.readCell(ctx, all[i], s, now)
				if err != nil {
					cancel(err)
				}
				cells[i] = c
			}
		})
	}
	for i := range all {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	readers.Wait()
	return context.Cause(ctx)
}

// readCell reads what there is of a measurement in a span.
func (h *handler) readCell(ctx context.Context, m *measurement, s span, now int64) (cell, error) {
	c := cell{Key: m.Key, Tests: 1, Kind: m.kind(), State: none, Updated: m.updated(), Sent: unknown, Lost: unknown, Worst: unknown, delays: noDelays}
	if c.Updated < s.From {
		return c, nil // there can be nothing
	}
	window := windowFor(s, m.step, gridWindows)
	ends := func(at int64) { c.Last = max(c.Last, min(at+cmp.Or(window, m.step), now)) }
	var lost loss
	err := h.read(ctx, m, m.losses, m.summaryFor(m.losses, window), s, window, gridValues, func(at int64, r *store.Reading) error {
		l := lossOf(r)
		lost.lost += l.lost
		lost.sent += l.sent
		greatest(&c.Worst, l.rate())
		ends(at)
		return nil
	})
	if errors.Is(err, errTooMany) { // half of it would be taken for all
		lost, c.Worst = loss{}, unknown
	} else if err != nil {
		return c, err
	}
	c.Sent, c.Lost = lost.figures()
	packets := series.NewFold(series.Histogram)
	err = h.read(ctx, m, m.delays, m.summaryFor(m.delays, window), s, window, gridValues, func(at int64, r *store.Reading) error {
		ends(at)
		return folded(packets, r)
	})
	if errors.Is(err, errTooMany) {
		packets = nil
	} else if err != nil {
		return c, err
	}
	c.delays = delaysOf(packets)
	c.State = m.stateOf(c.Last, s, now)
	return c, nil
}

// stateOf returns the state of a measurement that has data until last.
func (m *measurement) stateOf(last int64, s span, now int64) state {
	if last == 0 {
		return none
	}
	// A stream writes all the time; other tests may rest between two.
	patience := 3*m.step + 120
	if m.Parameters["pscheduler-test-type"] != "latencybg" {
		patience = max(patience, 3600)
	}
	end := min(s.To, now)
	if end-last > patience || end == now && now-m.updated() > patience {
		return stale
	}
	return fresh
}

// A mesh is a grid that grows.
type mesh struct {
	names  map[string]string // of hosts, by their id
	pairs  map[hostPair]*cell
	tests  int // that were added
	beyond int // that were too many
}

type hostPair struct{ source, destination string }

// add adds what was read of a measurement.
func (m *mesh) add(of *measurement, c *cell) {
	m.tests++
	source, destination := nameOf(of.Source, of.InputSource), nameOf(of.Destination, of.InputDestination)
	for _, host := range []host{source, destination} {
		// A host may have been called by its name here and by its address there.
		if n, ok := m.names[host.ID]; !ok || n == host.ID || host.Name != host.ID && host.Name < n {
			m.names[host.ID] = host.Name
		}
	}
	at := hostPair{source.ID, destination.ID}
	if before := m.pairs[at]; before != nil {
		tests := before.Tests + 1
		if before.better(c) {
			c = before
		}
		c.Tests = tests
	}
	m.pairs[at] = c
}

// arranged returns the grid, with its hosts by name.
func (m *mesh) arranged() *gridAnswer {
	g := &gridAnswer{Hosts: []host{}, Cells: make([]cell, 0, len(m.pairs)), Tests: m.tests + m.beyond, Beyond: m.beyond}
	for id, name := range m.names {
		g.Hosts = append(g.Hosts, host{id, name})
	}
	slices.SortFunc(g.Hosts, func(a, b host) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	place := make(map[string]int, len(g.Hosts))
	for i, host := range g.Hosts {
		place[host.ID] = i
	}
	for at, c := range m.pairs {
		c.Source, c.Destination = place[at.source], place[at.destination]
		g.Cells = append(g.Cells, *c)
	}
	slices.SortFunc(g.Cells, func(a, b cell) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Destination, b.Destination))
	})
	return g
}

// better reports whether of two cells of one pair c is the one to show.
func (c *cell) better(d *cell) bool {
	sent := func(c *cell) figure {
		if c.Sent.unknown() {
			return -1
		}
		return c.Sent
	}
	return cmp.Or(cmp.Compare(sent(c), sent(d)), cmp.Compare(c.Updated, d.Updated), cmp.Compare(d.Key, c.Key)) > 0
}

func (g *gridAnswer) header() []string {
	return []string{"source", "source_address", "destination", "destination_address", "state", "updated", "sent", "lost", "worst_loss", "min_ms", "p5_ms", "median_ms", "p95_ms", "max_ms", "tests", "key"}
}

func (g *gridAnswer) rows(add func(...any)) {
	for i := range g.Cells {
		c := &g.Cells[i]
		var updated any = moment(c.Updated)
		if c.Updated == 0 {
			updated = ""
		}
		source, destination := g.Hosts[c.Source], g.Hosts[c.Destination]
		add(source.Name, source.ID, destination.Name, destination.ID, string(c.State), updated, c.Sent, c.Lost, c.Worst, c.Min, c.P5, c.Median, c.P95, c.Max, c.Tests, c.Key)
	}
}
