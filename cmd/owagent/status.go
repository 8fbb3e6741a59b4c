package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"owl/internal/agentfile"
	"owl/internal/command"
	"owl/internal/table"
	"owl/sessions"
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
	Count        int            `json:"stream_count"` // of all, whichever are asked for
	Streams      []streamStatus `json:"streams"`
	Archives     []lineStatus   `json:"archives,omitempty"`
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
	LostBy       map[string]uint64   `json:"lost_by_cause,omitempty"`
	LastLoss     string              `json:"last_loss,omitempty"` // as the log has it
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

// errPattern says that a pattern is none.
var errPattern = errors.New("want * for any characters, ? for one, and [ ] around a choice")

// matches reports whether the name of a stream is what pattern says, "" for any.
// The slash of a group's stream is a character as any other.
func matches(pattern, name string) (bool, error) {
	if pattern == "" {
		return true, nil
	}
	flat := strings.NewReplacer("/", "\x00")
	ok, err := path.Match(flat.Replace(pattern), flat.Replace(name))
	if err != nil {
		err = fmt.Errorf("streams %q: %w", pattern, errPattern)
	}
	return ok, err
}

// status returns what the agent does, and its streams whose names match pattern,
// in the file's order.
func (a *agent) status(ctx context.Context, pattern string) (*status, error) {
	a.mu.Lock()
	cfg := a.cfg
	var streams []*stream
	count := 0
	var bad error
	for i := range cfg.Streams {
		if s := a.streams[cfg.Streams[i].Key]; s != nil {
			count++
			ok, err := matches(pattern, s.spec.Name)
			if ok {
				streams = append(streams, s)
			}
			bad = err
		}
	}
	a.mu.Unlock()
	if bad != nil {
		return nil, bad
	}
	known := a.clock.State()
	st := &status{
		Version:      command.Version,
		Host:         cfg.Host,
		PID:          os.Getpid(),
		Config:       a.file,
		Started:      a.started.Time(),
		Synchronized: known.Synchronized,
		Clock:        clockStatusOf(known),
		Budget:       cfg.Budget,
		Rate:         cfg.Rate(),
		Count:        count,
		Streams:      []streamStatus{}, // a list even of none
	}
	if st.Synchronized {
		st.ClockError = new(a.clock.Error(0).Seconds())
	}
	for _, s := range streams {
		st.Streams = append(st.Streams, s.status())
	}
	if q := a.queued(); q != nil {
		var err error
		if st.Archives, err = linesOf(ctx, q); err != nil {
			return nil, err
		}
	}
	return st, nil
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
	for cause := range sessions.Causes() {
		if n := snap.LostBy[cause]; n > 0 {
			if st.LostBy == nil {
				st.LostBy = make(map[string]uint64)
			}
			st.LostBy[cause.String()] = n
		}
	}
	if snap.LastLoss != nil {
		st.LastLoss = snap.LastLoss.String()
	}
	if len(snap.Gaps) > 0 {
		st.Gaps = make(map[string]float64)
		for reason, d := range snap.Gaps {
			st.Gaps[string(reason)] = d.Seconds()
		}
	}
	return st
}

// maxRows is how many streams are shown to people who have not asked for any of
// them.
const maxRows = 50

// print prints the status for people: a line for each stream, or, of very many,
// for those that are worst off.
func (st *status) print(w io.Writer, asked bool) error {
	fmt.Fprintf(w, "owagent on %s since %s: %d streams, %.6g packets/s of %d\n%s\n",
		table.Plain(st.Host), st.Started.Local().Format(time.DateTime), st.Count, st.Rate, st.Budget, st.clockLine())
	if len(st.Archives) > 0 {
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		printLines(tw, st.Archives)
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	if len(st.Streams) == 0 {
		return nil
	}
	rows := st.Streams
	if len(rows) > 1 {
		fmt.Fprintln(w, st.sum())
	}
	if len(rows) > maxRows && !asked {
		rows = slices.Clone(rows)
		slices.SortStableFunc(rows, worse)
		rows = rows[:maxRows]
		fmt.Fprintf(w, "the %d that are worst off, of %d; --stream PATTERN shows others, --json all\n", maxRows, len(st.Streams))
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "stream\tdirection\tpeer\tstate\treceived\tlost\tmin\tmedian\tp95\tmeasured")
	for i := range rows {
		rows[i].print(tw)
	}
	return tw.Flush()
}

// sum says of all streams that are shown how many are in which state, and what
// became of their packets.
func (st *status) sum() string {
	states := make(map[string]int)
	var received, lost, notSent uint64
	for i := range st.Streams {
		s := &st.Streams[i]
		states[s.State]++
		received, lost, notSent = received+s.Received, lost+s.Lost, notSent+s.NotSent
	}
	var all []string
	for _, state := range slices.Sorted(maps.Keys(states)) {
		all = append(all, fmt.Sprintf("%d %s", states[state], state))
	}
	return fmt.Sprintf("%s; packets: %s received, %s lost (%s), %s not sent", strings.Join(all, ", "),
		table.Count(received), table.Count(lost), table.Percent(lost, received+lost), table.Count(notSent))
}

// worse orders streams: first those that do not run, then by the part of their
// packets that was lost, then by the part of their time that was not measured.
func worse(a, b streamStatus) int {
	idle := func(s *streamStatus) int {
		if s.State == sessions.StateRunning.String() {
			return 1
		}
		return 0
	}
	loss := func(s *streamStatus) float64 { return float64(s.Lost) / float64(max(s.Received+s.Lost, 1)) }
	measured := func(s *streamStatus) float64 {
		if s.Completeness == nil {
			return 1
		}
		return *s.Completeness
	}
	return cmp.Or(cmp.Compare(idle(&a), idle(&b)), cmp.Compare(loss(&b), loss(&a)), cmp.Compare(measured(&a), measured(&b)))
}

// print prints the line of a stream.
func (s *streamStatus) print(w io.Writer) {
	least, median, p95, measured := "-", "-", "-", "-"
	if s.DelayMin != nil && s.DelayMedian != nil && s.DelayP95 != nil {
		least, median, p95 = table.Duration(seconds(*s.DelayMin)), table.Duration(seconds(*s.DelayMedian)), table.Duration(seconds(*s.DelayP95))
	}
	if s.Completeness != nil {
		measured = fmt.Sprintf("%.4g %%", *s.Completeness*100)
	}
	lost := table.Count(s.Lost)
	if here := s.LostBy[sessions.CauseHost.String()] + s.LostBy[sessions.CauseHostSuspect.String()]; here > 0 {
		lost += fmt.Sprintf(" (here: up to %s)", table.Count(here))
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", table.Plain(s.Name), s.Direction, table.Plain(s.Peer), s.State,
		table.Count(s.Received), lost, least, median, p95, measured)
}

// seconds returns s, a number of seconds.
func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
