package result

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"owl/owamp"
)

// This file is the JSON form of results. docs/results.md says what each member
// means.

// document is what archivers get, but for the members that hold what a result has
// found: these are long, and appended as they are.
type document struct {
	ID           string           `json:"id"`
	Schedule     scheduleDocument `json:"schedule"`
	Test         testDocument     `json:"test"`
	Tool         toolDocument     `json:"tool"`
	Participants []string         `json:"participants"`
	Reference    json.RawMessage  `json:"reference"`
	Task         taskDocument     `json:"task"`
}

type scheduleDocument struct {
	Start    string `json:"start"`
	Duration string `json:"duration"`
}

type testDocument struct {
	Type Test            `json:"type"`
	Spec json.RawMessage `json:"spec"`
}

type toolDocument struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

type taskDocument struct {
	Schema    int             `json:"schema"`
	Test      testDocument    `json:"test"`
	Tool      string          `json:"tool"`
	Schedule  struct{}        `json:"schedule"`
	Reference json.RawMessage `json:"reference,omitempty"`
	Detail    detailDocument  `json:"detail"`
	Href      string          `json:"href"`
}

type detailDocument struct {
	Added            string        `json:"added"`
	Anytime          bool          `json:"anytime"`
	CLI              []string      `json:"cli"`
	Diags            string        `json:"diags"`
	Duration         string        `json:"duration"`
	Enabled          bool          `json:"enabled"`
	Exclusive        bool          `json:"exclusive"`
	Hints            hintsDocument `json:"hints"`
	MultiResult      bool          `json:"multi-result"`
	Participant      int           `json:"participant"`
	Participants     []string      `json:"participants"`
	Post             string        `json:"post"`
	Runs             int           `json:"runs"`
	RunsStarted      int           `json:"runs-started"`
	Slip             string        `json:"slip"`
	SpecLimitsPassed []string      `json:"spec-limits-passed"`
	Start            *string       `json:"start"`
}

type hintsDocument struct {
	Requester string `json:"requester"`
}

type runDocument struct {
	Added        string   `json:"added"`
	StartTime    string   `json:"start-time"`
	EndTime      string   `json:"end-time"`
	Duration     string   `json:"duration"`
	Participant  int      `json:"participant"`
	Participants []string `json:"participants"`
	Priority     *int     `json:"priority"`
	State        string   `json:"state"`
	StateDisplay string   `json:"state-display"`
	Errors       *string  `json:"errors"`
	LimitDiags   *string  `json:"limit-diags"`
	Href         string   `json:"href"`
	TaskHref     string   `json:"task-href"`
}

// outcome is the member result of a document where something was measured, but for
// the histograms, which are long, too.
type outcome struct {
	Schema        int           `json:"schema"`
	Succeeded     bool          `json:"succeeded"`
	Sent          uint64        `json:"packets-sent"`
	Received      uint64        `json:"packets-received"`
	Lost          uint64        `json:"packets-lost"`
	Duplicated    uint64        `json:"packets-duplicated"`
	Reordered     uint64        `json:"packets-reordered"`
	MaxClockError *hundredths   `json:"max-clock-error,omitempty"`
	Raw           []rawDocument `json:"raw-packets,omitempty"`
	Owl           owlDocument   `json:"owl"`
}

// failure is that member where nothing was.
type failure struct {
	Schema    int         `json:"schema"`
	Succeeded bool        `json:"succeeded"`
	Error     string      `json:"error"`
	Diags     *string     `json:"diags"`
	Owl       owlDocument `json:"owl"`
}

// rawDocument is a packet; times are in units of 2^-32 s since 1900, errors in
// seconds.
type rawDocument struct {
	Seq     uint32          `json:"seq-num"`
	Sent    owamp.Timestamp `json:"src-ts"`
	SentOK  bool            `json:"src-clock-sync"`
	SentErr float64         `json:"src-clock-err"`
	Recv    owamp.Timestamp `json:"dst-ts"`
	RecvOK  bool            `json:"dst-clock-sync"`
	RecvErr float64         `json:"dst-clock-err"`
	TTL     uint8           `json:"ip-ttl"`
}

// owlDocument has what pScheduler has no member for.
type owlDocument struct {
	Schema       int           `json:"schema"`
	SID          string        `json:"sid,omitempty"`
	Sender       string        `json:"sender,omitempty"`
	Receiver     string        `json:"receiver,omitempty"`
	Start        string        `json:"start"`
	StartNTP     string        `json:"start-ntp"`
	End          string        `json:"end"`
	EndNTP       string        `json:"end-ntp"`
	Part         *int          `json:"part,omitempty"`
	Merged       int           `json:"results-merged,omitempty"`
	Completeness *float64      `json:"completeness"`
	Gaps         []gapDocument `json:"gaps"`
	*measuredDocument
}

type gapDocument struct {
	Reason string  `json:"reason"`
	Start  string  `json:"start"`
	Length *length `json:"seconds"`
}

type measuredDocument struct {
	Scheduled   uint64            `json:"packets-scheduled"`
	NotSent     uint64            `json:"packets-not-sent"`
	NotCovered  uint64            `json:"packets-not-covered"`
	RawLeftOut  uint64            `json:"raw-packets-left-out,omitempty"`
	LostBy      map[string]uint64 `json:"lost-by,omitempty"`
	LossPeriods lossDocument      `json:"loss-periods"`
	Delay       *delayDocument    `json:"delay-ms"`
	PDV         *pdvDocument      `json:"pdv-ms"`
	IPDV        *ipdvDocument     `json:"ipdv-ms"`
	Width       json.RawMessage   `json:"bucket-width-ms"`
	ClockError  *millis           `json:"max-clock-error-ms"`
	Synced      bool              `json:"synchronized"`
	ClockSteps  uint64            `json:"clock-steps"`
}

type delayDocument struct {
	Min    millis `json:"min"`
	P25    millis `json:"p25"`
	Median millis `json:"median"`
	P75    millis `json:"p75"`
	P95    millis `json:"p95"`
	P99    millis `json:"p99"`
	Max    millis `json:"max"`
	Mean   millis `json:"mean"`
}

type pdvDocument struct {
	Median millis `json:"median"`
	P95    millis `json:"p95"`
	P99    millis `json:"p99"`
	Max    millis `json:"max"`
}

type ipdvDocument struct {
	Min    millis `json:"min"`
	P5     millis `json:"p5"`
	Median millis `json:"median"`
	P95    millis `json:"p95"`
	Max    millis `json:"max"`
}

type lossDocument struct {
	Count     uint64            `json:"count"`
	Longest   uint64            `json:"longest"`
	Lengths   map[uint64]uint64 `json:"lengths"`
	Distances map[uint64]uint64 `json:"distances"`
}

// JSON returns the document. The addresses in it lead to a host, which may have a
// port; an empty one is the task's own. Raw says that it has the packets, if the
// result has them; they are not repeated in run.
func (r *Result) JSON(host string, raw bool) ([]byte, error) {
	merged, err := r.outcome(false)
	if err != nil {
		return nil, err
	}
	whole := merged
	if raw && r.raw != nil {
		if whole, err = r.outcome(true); err != nil {
			return nil, err
		}
	}
	t, at := &r.Task.cfg, second(r.Time)
	takes := iso(r.Task.Length())
	participants := []string{t.Host}
	test := testDocument{t.Test, r.Task.spec}
	d := &document{
		ID:           r.ID,
		Schedule:     scheduleDocument{at, takes},
		Test:         test,
		Tool:         toolDocument{t.Tool, t.ToolVersion},
		Participants: participants,
		Reference:    t.Reference,
		Task: taskDocument{
			Schema:    1,
			Test:      test,
			Tool:      t.Tool,
			Reference: t.Reference,
			Detail: detailDocument{
				Added:            second(t.Added),
				Anytime:          true,
				CLI:              []string{},
				Duration:         takes,
				Enabled:          true,
				Hints:            hintsDocument{t.Host},
				MultiResult:      t.Test == LatencyBG,
				Participants:     participants,
				Post:             none,
				RunsStarted:      1,
				Slip:             none,
				SpecLimitsPassed: []string{},
			},
			Href: r.Task.Href(host),
		},
	}
	run := &runDocument{
		Added:        second(r.Made),
		StartTime:    at,
		EndTime:      at,
		Duration:     none,
		Participants: participants,
		State:        "finished",
		StateDisplay: "Finished",
		Href:         r.RunHref(host),
		TaskHref:     r.Task.Href(host),
	}
	full := []byte("null")
	// A run of a stream is the coming of a result; that of a single test takes
	// its time, and may fail.
	if t.Test == Latency {
		run.EndTime, run.Duration = second(r.Time.Add(r.Task.Length())), takes
		full = slices.Concat([]byte{'['}, merged, []byte{']'})
		if !r.Succeeded {
			run.State, run.StateDisplay = "failed", "Failed"
		}
	}
	b, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	c, err := json.Marshal(run)
	if err != nil {
		return nil, err
	}
	c = appendMember(c, "result-full", full)
	c = appendMember(c, "result-merged", merged)
	b = slices.Grow(b, len(whole)+len(c)+len(`,"result":,"run":`))
	b = appendMember(b, "result", whole)
	return appendMember(b, "run", c), nil
}

// appendMember appends a member to an object that is not empty.
func appendMember(object []byte, name string, value []byte) []byte {
	b := append(object[:len(object)-1], `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	b = append(b, value...)
	return append(b, '}')
}

// none is how pScheduler says no time at all.
const none = "P0D"

// outcome returns the member result.
func (r *Result) outcome(raw bool) ([]byte, error) {
	owl := owlDocument{
		Schema:   1,
		SID:      r.SID,
		Start:    r.Start.Time().Format(time.RFC3339Nano),
		StartNTP: ntp(r.Start),
		End:      r.End.Time().Format(time.RFC3339Nano),
		EndNTP:   ntp(r.End),
		Gaps:     make([]gapDocument, len(r.Gaps)),
	}
	if r.Sender.IsValid() {
		owl.Sender, owl.Receiver = r.Sender.String(), r.Receiver.String()
	}
	if r.Part >= 0 {
		owl.Part = &r.Part
	}
	if r.Sessions > 1 {
		owl.Merged = r.Sessions
	}
	if c, ok := r.Completeness(); ok {
		owl.Completeness = &c
	}
	for i, g := range r.Gaps {
		owl.Gaps[i] = gapDocument{Reason: g.Reason, Start: g.Start.Time().Format(time.RFC3339Nano)}
		if !g.Open {
			n := length(g.Length())
			owl.Gaps[i].Length = &n
		}
	}
	if !r.Succeeded {
		return json.Marshal(&failure{Schema: 1, Error: r.Error, Owl: owl})
	}
	owl.measuredDocument = r.measured()
	o := &outcome{
		Schema:     1,
		Succeeded:  true,
		Sent:       r.Sent,
		Received:   r.Received,
		Lost:       r.Lost,
		Duplicated: r.Duplicates,
		Reordered:  r.Reordered,
		Owl:        owl,
	}
	if r.Received > 0 {
		e := hundredths(r.MaxError)
		o.MaxClockError = &e
	}
	if raw {
		o.Raw, o.Owl.RawLeftOut = r.rawDocuments(), r.more
	}
	b, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	b = appendMember(b, "histogram-latency", r.delayCounts())
	return appendMember(b, "histogram-ttl", r.ttlCounts()), nil
}

// measured returns Owl's figures of a measurement.
func (r *Result) measured() *measuredDocument {
	d := &measuredDocument{
		Scheduled:   r.Packets,
		NotSent:     r.NotSent,
		NotCovered:  r.Packets - min(r.Packets, r.Sent+r.NotSent),
		LostBy:      r.LostBy,
		LossPeriods: r.losses.document(),
		Width:       newScale(r.Delays.Width()).appendLabel(nil, 1),
		Synced:      r.Synced,
		ClockSteps:  r.ClockSteps,
	}
	if r.Received > 0 {
		e := millis(r.MaxError)
		d.ClockError = &e
	}
	if s := &r.delay; s.n > 0 {
		d.Delay = &delayDocument{
			millis(s.least), millis(s.p25), millis(s.p50), millis(s.p75),
			millis(s.p95), millis(s.p99), millis(s.most), millis(s.mean),
		}
		d.PDV = &pdvDocument{
			millis(s.p50 - s.least), millis(s.p95 - s.least), millis(s.p99 - s.least), millis(s.most - s.least),
		}
	}
	if s := &r.ipdv; s.n > 0 {
		d.IPDV = &ipdvDocument{millis(s.least), millis(s.p05), millis(s.p50), millis(s.p95), millis(s.most)}
	}
	return d
}

func (l *losses) document() lossDocument {
	d := lossDocument{Lengths: l.lengths, Distances: l.distances}
	for packets, n := range l.lengths {
		d.Count += n
		d.Longest = max(d.Longest, packets)
	}
	if d.Lengths == nil {
		d.Lengths = map[uint64]uint64{}
	}
	if d.Distances == nil {
		d.Distances = map[uint64]uint64{}
	}
	return d
}

func (r *Result) rawDocuments() []rawDocument {
	all := make([]rawDocument, len(r.raw))
	for i := range r.raw {
		p := &r.raw[i]
		all[i] = rawDocument{p.Seq, p.Sent, p.SentErr.Synchronized(), p.SentErr.Seconds(), p.Recv, p.RecvErr.Synchronized(), p.RecvErr.Seconds(), p.TTL}
	}
	return all
}

// delayCounts returns the histogram of delays: the far ends of bins in
// milliseconds, ascending, and their counts.
func (r *Result) delayCounts() []byte {
	s := newScale(r.Delays.Width())
	b := []byte{'{'}
	for bin, n := range r.Delays.Bins() {
		b = append(b, '"')
		b = s.appendLabel(b, bin)
		b = append(b, `":`...)
		b = strconv.AppendUint(b, n, 10)
		b = append(b, ',')
	}
	return endObject(b)
}

// ttlCounts returns the histogram of TTLs, ascending.
func (r *Result) ttlCounts() []byte {
	b := []byte{'{'}
	for ttl, n := range r.TTL {
		if n == 0 {
			continue
		}
		b = append(b, '"')
		b = strconv.AppendInt(b, int64(ttl), 10)
		b = append(b, `":`...)
		b = strconv.AppendUint(b, n, 10)
		b = append(b, ',')
	}
	return endObject(b)
}

// endObject ends an object, each member of which a comma follows.
func endObject(b []byte) []byte {
	if len(b) == 1 {
		return append(b, '}')
	}
	b[len(b)-1] = '}'
	return b
}

// ntp returns t in units of 2^-32 s since 1900, which many readers of JSON would
// round as a number.
func ntp(t owamp.Timestamp) string { return fmt.Sprintf("%020d", uint64(t)) }
