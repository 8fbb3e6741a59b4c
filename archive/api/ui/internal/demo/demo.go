// Package demo makes measurements up that look like those of a real mesh, so that
// the page can be tried and tested: delays that breathe with the day, bursts of
// loss, an outage with its reason, a route that changes, clocks that disagree, a
// host that has gone. The same seed makes the same data.
package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"time"

	"owl/archive/series"
	"owl/archive/store"
)

// Step is how long a session takes, in seconds, and Packets how many packets it
// has.
const (
	Step    = 60
	Packets = 600
)

// A Host is one of the mesh.
type Host struct {
	Name    string
	Address netip.Addr
	lat     float64 // degrees
	lon     float64
}

// Hosts are those of the mesh. The last one has gone.
var Hosts = []Host{
	{"ams.ps.example.net", netip.MustParseAddr("192.0.2.10"), 52.4, 4.9},
	{"fra.ps.example.net", netip.MustParseAddr("192.0.2.20"), 50.1, 8.7},
	{"lon.ps.example.net", netip.MustParseAddr("2001:db8:30::1"), 51.5, -0.1},
	{"nyc.ps.example.net", netip.MustParseAddr("198.51.100.40"), 40.7, -74.0},
	{"sjc.ps.example.net", netip.MustParseAddr("198.51.100.50"), 37.3, -121.9},
	{"sin.ps.example.net", netip.MustParseAddr("203.0.113.60"), 1.3, 103.8},
	{"tok.ps.example.net", netip.MustParseAddr("203.0.113.70"), 35.7, 139.7},
}

// A Mesh is what is made up. All of it ends at End.
type Mesh struct {
	Hosts []Host
	End   time.Time
	Long  time.Duration // of the pair of the first and the fourth host
	Short time.Duration // of all others
	Seed  uint64
}

// Outage is when the long pair could not be measured, before the end.
const (
	OutageBegan = 5 * time.Hour
	OutageEnded = 4*time.Hour + 10*time.Minute
	RouteChange = 30 * time.Hour // before the end, that the long pair's delay grew
	Gone        = 50 * time.Minute
)

// Fill writes a mesh into a store.
func (m *Mesh) Fill(ctx context.Context, s *store.Store) error {
	for i := range m.Hosts {
		for j := range m.Hosts {
			if i == j || i == 1 && j == 5 { // somebody is not measured
				continue
			}
			if err := m.pair(ctx, s, i, j); err != nil {
				return fmt.Errorf("%s to %s: %w", m.Hosts[i].Name, m.Hosts[j].Name, err)
			}
		}
	}
	return nil
}

// metadata are as powstream's results are registered.
func metadata(a, b Host) ([]byte, error) {
	summaries := func(event string, types ...string) map[string]any {
		var all []map[string]any
		for _, window := range []int{300, 3600, 86400} {
			for _, t := range types {
				all = append(all, map[string]any{"summary-type": t, "summary-window": window})
			}
		}
		return map[string]any{"event-type": event, "summaries": all}
	}
	return json.Marshal(map[string]any{
		"subject-type": series.PointToPoint, "source": a.Address, "destination": b.Address, "measurement-agent": a.Address,
		"input-source": a.Name, "input-destination": b.Name, "tool-name": "pscheduler/powstream", "pscheduler-test-type": "latencybg",
		"sample-size": Packets, "time-probe-interval": 0.1, "sample-bucket-width": 0.0001,
		"event-types": []map[string]any{
			summaries("histogram-owdelay", "aggregation", "statistics"), summaries("packet-loss-rate", "aggregation"),
			summaries("packet-count-sent", "aggregation"), summaries("packet-count-lost", "aggregation"),
			{"event-type": "packet-reorders"}, {"event-type": "packet-duplicates"}, {"event-type": "time-error-estimates"}, {"event-type": "failures"},
		},
	})
}

// pair writes one direction of a pair.
func (m *Mesh) pair(ctx context.Context, s *store.Store, i, j int) error {
	body, err := metadata(m.Hosts[i], m.Hosts[j])
	if err != nil {
		return err
	}
	parsed, err := series.ParseMetadata(body)
	if err != nil {
		return err
	}
	registered, err := s.Register(ctx, parsed)
	if err != nil {
		return err
	}
	length := m.Short
	if min(i, j) == 0 && max(i, j) == 3 {
		length = m.Long
	}
	w := &writer{mesh: m, i: i, j: j, rng: rand.New(rand.NewPCG(m.Seed, uint64(i*100+j)))}
	end := m.End.Unix() / Step * Step
	var samples []series.Sample
	for at := end - int64(length/time.Second); at < end; at += Step {
		one, err := w.session(at)
		if err != nil {
			return err
		}
		if samples = append(samples, one...); len(samples) > 2000 {
			if _, err := s.Write(ctx, registered.Key, samples); err != nil {
				return err
			}
			samples = samples[:0]
		}
	}
	_, err = s.Write(ctx, registered.Key, samples)
	return err
}

// A writer makes the sessions of one direction up.
type writer struct {
	mesh *Mesh
	i, j int
	rng  *rand.Rand
	bad  int // sessions that a burst of loss still takes
}

// base returns the delay of an empty path, in ms: light in fibre, by a detour.
func (w *writer) base() float64 {
	a, b := w.mesh.Hosts[w.i], w.mesh.Hosts[w.j]
	rad := math.Pi / 180
	angle := math.Acos(min(1, math.Sin(a.lat*rad)*math.Sin(b.lat*rad)+math.Cos(a.lat*rad)*math.Cos(b.lat*rad)*math.Cos((a.lon-b.lon)*rad)))
	return 0.15 + 6371*angle/200*1.45
}

// session returns what was measured in a session, or why nothing was.
func (w *writer) session(at int64) ([]series.Sample, error) {
	before := time.Duration(w.mesh.End.Unix()-at) * time.Second
	last := len(w.mesh.Hosts) - 1
	long := min(w.i, w.j) == 0 && max(w.i, w.j) == 3
	switch {
	case last > 3 && (w.i == last || w.j == last) && before <= Gone:
		return nil, nil
	case w.i == 2 && w.j == 1: // has never measured anything
		return nil, nil
	case long && before <= OutageBegan && before > OutageEnded:
		start := w.mesh.End.Add(-OutageBegan)
		return w.samples(at, map[string]any{"failures": map[string]any{
			"error": "no data since " + start.UTC().Format(time.RFC3339) + ": peer_unreachable: dial tcp 198.51.100.40:861: connect: no route to host",
			"gaps":  []map[string]any{{"reason": "peer_unreachable", "start": start.UTC().Format(time.RFC3339), "seconds": nil}},
		}})
	}
	day := math.Sin(2 * math.Pi * (float64(at%86400)/86400 - 0.35)) // busy in the afternoon
	floor := w.base()
	if long && before < RouteChange && w.i == 0 {
		floor += 6.4
	}
	if w.i == 1 && w.j == 0 {
		floor -= 7.5 // by the clock of fra, which is late
	}
	queue := 0.12 + 0.5*max(0, day) + 0.1*w.rng.Float64()
	if w.bad == 0 && w.rng.Float64() < 0.004 {
		w.bad = 1 + w.rng.IntN(6)
	}
	lost, reordered, duplicated := 0, 0, 0
	if w.bad > 0 {
		w.bad--
		lost = w.rng.IntN(90)
		queue *= 6
	} else if w.rng.Float64() < 0.02 {
		lost = 1
	}
	if w.i == 4 && w.j == 6 { // a path that is not well
		lost += 4 + w.rng.IntN(20)
	}
	if w.rng.Float64() < 0.01 {
		reordered = 1 + w.rng.IntN(4)
	}
	if w.rng.Float64() < 0.004 {
		duplicated = 1
	}
	histogram := make(map[string]int)
	for range Packets - lost {
		delay := floor + queue*w.rng.ExpFloat64()*0.5
		if w.rng.Float64() < 0.0006 {
			delay += 5 + 60*w.rng.ExpFloat64()
		}
		histogram[strconv.FormatFloat(math.Ceil(delay*10)/10, 'f', 2, 64)]++
	}
	return w.samples(at, map[string]any{
		"histogram-owdelay": histogram, "packet-loss-rate": map[string]int{"numerator": lost, "denominator": Packets},
		"packet-count-sent": Packets, "packet-count-lost": lost, "packet-reorders": reordered, "packet-duplicates": duplicated,
		"time-error-estimates": 0.25 + 0.1*math.Sin(float64(at)/9000+float64(w.i)) + 0.02*w.rng.Float64(),
	})
}

// samples returns the values of one second.
func (w *writer) samples(at int64, values map[string]any) ([]series.Sample, error) {
	var all []series.Sample
	for name, value := range values {
		event := series.EventType(name)
		kind, _ := event.Kind()
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		v, err := series.Parse(kind, text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, series.Sample{Time: at, Event: event, Value: v})
	}
	return all, nil
}
