package main

import (
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"owl/internal/agentfile"
	"owl/internal/cli"
	"owl/internal/table"
)

// A status is what an agent says of itself. Times with the unit s are seconds.
type status struct {
	Version      string         `json:"version"`
	Host         string         `json:"host"`
	PID          int            `json:"pid"`
	Config       string         `json:"config"`
	Started      time.Time      `json:"started"`
	Synchronized bool           `json:"clock_synchronized"`
	ClockError   *float64       `json:"clock_error_s,omitempty"` // if it is synchronized
	Clock        clockStatus    `json:"clock"`
	Rate         float64        `json:"rate_packets_per_s"`
	Budget       uint64         `json:"budget_packets_per_s"`
	Streams      []streamStatus `json:"streams"`
}

// A streamStatus is what a stream does. Packets are counted since it began;
// delays are those of the last 64 packets that were received.
type streamStatus struct {
	Name         string              `json:"name"`
	Direction    agentfile.Direction `json:"direction"`
	Local        string              `json:"local"`
	Remote       string              `json:"remote"`
	Peer         string              `json:"peer"`
	State        string              `json:"state"`
	Rate         float64             `json:"rate_packets_per_s"`
	Received     uint64              `json:"received"`
	Lost         uint64              `json:"lost"`
	NotSent      uint64              `json:"not_sent"`
	NotCovered   uint64              `json:"not_covered"`
	Unresolved   uint64              `json:"unresolved"`
	Duplicates   uint64              `json:"duplicates"`
	Reordered    uint64              `json:"reordered"`
	DelayMin     *float64            `json:"delay_min_s,omitempty"`
	DelayMedian  *float64            `json:"delay_median_s,omitempty"`
	DelayP95     *float64            `json:"delay_p95_s,omitempty"`
	Completeness *float64            `json:"completeness,omitempty"`
	Gaps         map[string]float64  `json:"gaps_s,omitempty"` // by reason
	Dir          string              `json:"dir,omitempty"`
	Labels       map[string]string   `json:"labels,omitempty"`
}

// status returns what the agent does, its streams in the file's order.
func (a *agent) status() *status {
	a.mu.Lock()
	cfg := a.cfg
	var streams []*stream
	for i := range cfg.Streams {
		if s := a.streams[cfg.Streams[i].Key]; s != nil {
			streams = append(streams, s)
		}
	}
	a.mu.Unlock()
	known := a.clock.State()
	st := &status{
		Version:      cli.Version,
		Host:         cfg.Host,
		PID:          os.Getpid(),
		Config:       a.file,
		Started:      a.started.Time(),
		Synchronized: known.Synchronized,
		Clock:        clockStatusOf(known),
		Budget:       cfg.Budget,
		Streams:      []streamStatus{}, // a list even of none
	}
	if st.Synchronized {
		st.ClockError = new(a.clock.Error(0).Seconds())
	}
	for _, s := range streams {
		st.Rate += s.spec.Rate()
		st.Streams = append(st.Streams, s.status())
	}
	return st
}

// status returns what the stream does.
func (s *stream) status() streamStatus {
	snap := s.stream.Snapshot()
	st := streamStatus{
		Name:       s.spec.Name,
		Direction:  s.spec.Direction,
		Local:      s.spec.Local,
		Remote:     s.spec.Remote,
		Peer:       s.spec.Peer,
		State:      snap.State.String(),
		Rate:       s.spec.Rate(),
		Received:   snap.Received,
		Lost:       snap.Lost,
		NotSent:    snap.NotSent,
		NotCovered: snap.NotCovered,
		Unresolved: snap.Unresolved,
		Duplicates: snap.Duplicates,
		Reordered:  snap.Reordered,
		Dir:        s.spec.Dir,
		Labels:     s.spec.Labels,
	}
	if least, median, p95, ok := s.recent.quantiles(); ok {
		st.DelayMin, st.DelayMedian, st.DelayP95 = new(least.Seconds()), new(median.Seconds()), new(p95.Seconds())
	}
	if ratio, ok := snap.Completeness(); ok {
		st.Completeness = &ratio
	}
	if len(snap.Gaps) > 0 {
		st.Gaps = make(map[string]float64)
		for reason, d := range snap.Gaps {
			st.Gaps[string(reason)] = d.Seconds()
		}
	}
	return st
}

// print prints the status for people.
func (st *status) print(w io.Writer) error {
	fmt.Fprintf(w, "owagent on %s since %s: %d streams, %.6g packets/s of %d\n%s\n",
		table.Plain(st.Host), st.Started.Local().Format(time.DateTime), len(st.Streams), st.Rate, st.Budget, st.clockLine())
	if len(st.Streams) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "stream\tdirection\tpeer\tstate\treceived\tlost\tmin\tmedian\tp95\tmeasured")
	for i := range st.Streams {
		s := &st.Streams[i]
		least, median, p95, measured := "-", "-", "-", "-"
		if s.DelayMin != nil && s.DelayMedian != nil && s.DelayP95 != nil {
			least, median, p95 = table.Duration(seconds(*s.DelayMin)), table.Duration(seconds(*s.DelayMedian)), table.Duration(seconds(*s.DelayP95))
		}
		if s.Completeness != nil {
			measured = fmt.Sprintf("%.4g %%", *s.Completeness*100)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", table.Plain(s.Name), s.Direction, table.Plain(s.Peer), s.State,
			table.Count(s.Received), table.Count(s.Lost), least, median, p95, measured)
	}
	return tw.Flush()
}

// seconds returns s, a number of seconds.
func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
