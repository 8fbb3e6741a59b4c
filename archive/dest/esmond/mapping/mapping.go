// Package mapping makes of a result of pScheduler what a measurement archive that
// speaks esmond's language stores of it: metadata, which say what was measured
// between whom, and values by event type.
//
// It is the mapping of pScheduler's esmond archiver, so that what Owl stores
// continues the series that are there. Where that archiver fails over a part of a
// result that is not as it should be, that part is left out here, and so is null,
// which esmond cannot store.
package mapping

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"owl/archive/iso8601"
	"owl/archive/member"
)

// A Policy says in which form results are stored.
type Policy string

// The policies. A result of a test that has no mapping is an error of MappedOnly
// and of MappedAndRaw.
const (
	PreferMapped Policy = "prefer-mapped" // mapped, or else raw
	MappedAndRaw Policy = "mapped-and-raw"
	MappedOnly   Policy = "mapped-only"
	RawOnly      Policy = "raw-only" // the result as it is
)

// A Mapper maps results. It may be used by many goroutines at once.
type Mapper struct {
	Policy Policy
	// Agent is the host that counts as the one that measures; empty: the first
	// participant.
	Agent string
	// Summaries are those that the archive is to make; nil: those that
	// perfSONAR's archives make as a rule.
	Summaries []Summary
}

// A Record is what is to be stored under one metadata object.
type Record struct {
	// Metadata are the members of that object but for source, destination and
	// measurement-agent, which are addresses, of the hosts that follow.
	Metadata map[string]any
	// Source, Destination and Agent are names or addresses of hosts. Destination
	// is empty of what was measured at one host alone (a network-element).
	Source, Destination, Agent string
	Time                       int64 // when it was measured, Unix seconds
	Values                     []Value
}

// A Value is of one event type. It encodes as JSON.
type Value struct {
	EventType string `json:"event-type"`
	Val       any    `json:"val"`
}

// Once reports whether esmond refuses a second value of that type and time: it does
// of a number or a rate, and overwrites any other.
func (v Value) Once() bool {
	switch v.Val.(type) {
	case json.Number, ratio:
		return true
	}
	return false
}

// IsHistogram reports whether it is one.
func (v Value) IsHistogram() bool { return strings.HasPrefix(v.EventType, "histogram-") }

// unspecified is what a test that says nothing else has failed of, in
// pScheduler's words.
const unspecified = "The test failed for an unspecified reason. See the server logs of the testing host(s)."

// Event types that all tests share.
const (
	failures = "failures"
	runHref  = "pscheduler-run-href"
	raw      = "pscheduler-raw"
)

// A kind is how the results of a kind of test are mapped.
type kind struct {
	// eventTypes are those that the metadata declare, which follow from the
	// specification alone, so that successes and failures are one series.
	eventTypes func(spec object) []string
	fields     []field
	// computed notes metadata that are no members of the specification.
	computed func(spec object, metadata map[string]any)
	values   func(spec, result object) values
}

// A field is a member of a specification that goes into the metadata as it is.
type field struct{ spec, metadata string }

// kindOf returns the kind of a test; nil: it has no mapping.
func kindOf(test string) *kind {
	switch test {
	case "latency", "latencybg":
		return &latency
	case "throughput":
		return &throughput
	case "trace":
		return &trace
	case "rtt":
		return &rtt
	}
	return nil
}

// Records returns what is to be stored of a result, which is a document as
// pScheduler hands it to archivers. href is the address of the run; empty: the
// document's.
func (m *Mapper) Records(result []byte, href string) ([]Record, error) {
	d, err := read(result, href)
	if err != nil {
		return nil, err
	}
	k := kindOf(d.test)
	mapped := k != nil || d.test == clockTest
	switch {
	case m.Policy == RawOnly, !mapped && m.Policy == PreferMapped:
		return []Record{m.raw(d)}, nil
	case !mapped:
		return nil, fmt.Errorf("/test/type: %s: want a test that has a mapping, or the policy %s or %s", member.Kind(d.test), PreferMapped, RawOnly)
	case k == nil:
		all := m.clock(d)
		if m.Policy == MappedAndRaw {
			all = append(all, m.raw(d))
		}
		return all, nil
	}
	r, err := m.mapped(d, k)
	if err != nil {
		return nil, err
	}
	return []Record{r}, nil
}

// A document is a result as it is read.
type document struct {
	test      string
	spec      object
	result    any
	tool      string
	source    string // the host that the test measures from
	lead      string // the first participant
	time      int64
	duration  any // seconds; nil: not known
	reference any
	href      string
}

// read reads a document.
func read(text []byte, href string) (*document, error) {
	v, err := member.Decode(text)
	if err != nil {
		return nil, err
	}
	all := objectOf(v)
	test := objectOf(all["test"])
	d := &document{
		test:      textOf(test["type"]),
		spec:      objectOf(test["spec"]),
		result:    all["result"],
		tool:      textOf(objectOf(all["tool"])["name"]),
		reference: all["reference"],
		href:      href,
	}
	if d.test == "" {
		return nil, errors.New("unable to find a test definition: want a result as pScheduler makes it, without a transform")
	}
	if d.tool == "" {
		return nil, errors.New("/tool/name: want the name of the tool")
	}
	if d.href == "" {
		d.href = textOf(objectOf(all["run"])["href"])
	}
	if p := listOf(all["participants"]); len(p) > 0 {
		d.lead = textOf(p[0])
	}
	if d.source = cmp.Or(textOf(d.spec["source"]), d.lead); d.source == "" {
		return nil, errors.New("/participants: want one, or a source in the specification of the test")
	}
	schedule := objectOf(all["schedule"])
	start, err := time.Parse(time.RFC3339, textOf(schedule["start"]))
	if err != nil {
		return nil, fmt.Errorf("/schedule/start: %s: want a time such as 2026-05-01T12:00:00Z", member.Kind(schedule["start"]))
	}
	d.time = start.Unix()
	d.duration = secondsOf(schedule["duration"])
	return d, nil
}

// succeeded returns the result of a test that has succeeded.
func (d *document) succeeded() (object, bool) {
	o := objectOf(d.result)
	return o, o["succeeded"] == true
}

// failure returns why a test has not succeeded.
func (d *document) failure() Value {
	why := objectOf(d.result)["error"]
	if isEmpty(why) {
		why = unspecified
	}
	val := map[string]any{"error": why}
	if gaps := gapsOf(objectOf(d.result)); len(gaps) > 0 {
		val["gaps"] = gaps
	}
	return Value{failures, val}
}

// record returns what all records have: those of a measurement between two hosts
// if there is a destination.
func (m *Mapper) record(d *document, source, destination string, eventTypes ...string) Record {
	r := Record{Source: source, Destination: destination, Agent: cmp.Or(m.Agent, d.lead, d.source), Time: d.time}
	r.Metadata = map[string]any{
		"event-types":          m.declare(eventTypes),
		"pscheduler-test-type": d.test,
		"subject-type":         "network-element",
		"input-source":         source,
		"tool-name":            "pscheduler/" + d.tool,
	}
	if destination != "" {
		r.Metadata["subject-type"] = "point-to-point"
		r.Metadata["input-destination"] = destination
	}
	if d.duration != nil {
		r.Metadata["time-duration"] = d.duration
	}
	flatten(r.Metadata, "pscheduler-reference", d.reference)
	return r
}

// mapped returns the record of a test of kind k.
func (m *Mapper) mapped(d *document, k *kind) (Record, error) {
	destination := textOf(d.spec["dest"])
	if destination == "" {
		return Record{}, errors.New("/test/spec/dest: want the host that was measured to")
	}
	types := append(k.eventTypes(d.spec), runHref)
	if m.Policy == MappedAndRaw {
		types = append(types, raw)
	}
	r := m.record(d, d.source, destination, types...)
	for _, f := range k.fields {
		if v := d.spec[f.spec]; v != nil {
			r.Metadata[f.metadata] = v
		}
	}
	if k.computed != nil {
		k.computed(d.spec, r.Metadata)
	}
	if result, ok := d.succeeded(); ok {
		v := k.values(d.spec, result)
		v.addGaps(result)
		r.Values = v
	} else {
		r.Values = []Value{d.failure()}
	}
	r.addHref(d)
	if m.Policy == MappedAndRaw {
		r.addRaw(d)
	}
	return r, nil
}

// raw returns the record of a result that is stored as it is.
func (m *Mapper) raw(d *document) Record {
	r := m.ofHost(d, d.source, raw, runHref)
	flatten(r.Metadata, "pscheduler-"+d.test, d.spec)
	r.addRaw(d)
	r.addHref(d)
	return r
}

func (r *Record) addHref(d *document) {
	if d.href != "" {
		r.Values = append(r.Values, Value{runHref, map[string]any{"href": d.href}})
	}
}

func (r *Record) addRaw(d *document) {
	if d.result != nil {
		r.Values = append(r.Values, Value{raw, d.result})
	}
}

// declare returns the event types as metadata have them.
func (m *Mapper) declare(types []string) []eventType {
	summaries := m.Summaries
	if summaries == nil {
		summaries = defaultSummaries
	}
	all := make([]eventType, len(types))
	for i, name := range types {
		all[i].Name = name
		for _, s := range summaries {
			if s.EventType == name {
				all[i].Summaries = append(all[i].Summaries, s)
			}
		}
	}
	return all
}

// An eventType is one that metadata declare.
type eventType struct {
	Name      string    `json:"event-type"`
	Summaries []Summary `json:"summaries,omitempty"`
}

// A Summary is one that an archive makes of the values of an event type.
type Summary struct {
	Window    int64  `json:"summary-window"` // seconds; 0: of each value
	EventType string `json:"event-type"`
	Type      string `json:"summary-type"` // aggregation, average or statistics
}

// defaultSummaries are those that perfSONAR's archives make as a rule.
var defaultSummaries = slices.Concat(
	aggregations("packet-count-sent", 300, 3600, 86400),
	[]Summary{
		{300, "histogram-owdelay", "aggregation"},
		{300, "histogram-owdelay", "statistics"},
		{3600, "histogram-owdelay", "aggregation"},
		{0, "histogram-owdelay", "statistics"},
		{3600, "histogram-owdelay", "statistics"},
		{86400, "histogram-owdelay", "aggregation"},
		{86400, "histogram-owdelay", "statistics"},
		{0, "histogram-rtt", "statistics"},
		{3600, "histogram-rtt", "aggregation"},
		{3600, "histogram-rtt", "statistics"},
		{86400, "histogram-rtt", "aggregation"},
		{86400, "histogram-rtt", "statistics"},
		{86400, "throughput", "average"},
	},
	aggregations("packet-loss-rate", 300, 3600, 86400),
	aggregations("packet-loss-rate-bidir", 3600, 86400),
	aggregations("packet-count-lost", 300, 3600, 86400),
	aggregations("packet-count-lost-bidir", 300, 3600, 86400),
)

func aggregations(eventType string, windows ...int64) []Summary {
	all := make([]Summary, len(windows))
	for i, w := range windows {
		all[i] = Summary{w, eventType, "aggregation"}
	}
	return all
}

// durations notes members of a specification that are durations, as seconds.
func durations(fields ...field) func(object, map[string]any) {
	return func(spec object, metadata map[string]any) {
		for _, f := range fields {
			if s := secondsOf(spec[f.spec]); s != nil {
				metadata[f.metadata] = s
			}
		}
	}
}

// secondsOf returns a duration as seconds; nil: it is none.
func secondsOf(v any) any {
	d, err := iso8601.ParseDuration(textOf(v))
	if err != nil {
		return nil
	}
	return decimal(seconds(d))
}
