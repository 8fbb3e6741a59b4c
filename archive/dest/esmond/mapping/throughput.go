package mapping

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
)

const (
	subintervals = "-subintervals"
	streams      = "streams-"
)

// throughput is how throughput is mapped, of TCP and of UDP, of one stream and of
// several. Its direction is not: source and destination are those of the
// specification, also of a test that is run in reverse.
var throughput = kind{
	eventTypes: func(spec object) []string {
		types := []string{failures, "throughput", "throughput" + subintervals}
		many := isParallel(spec)
		if many {
			types = append(types, streams+"throughput", streams+"throughput"+subintervals)
		}
		switch {
		case isUDP(spec):
			types = append(types, "packet-loss-rate", "packet-count-lost", "packet-count-sent")
		default:
			types = append(types, "packet-retransmits", "packet-retransmits"+subintervals)
			if many {
				types = append(types, streams+"packet-retransmits", streams+"packet-retransmits"+subintervals)
			}
		}
		return types
	},
	fields: []field{
		{"tos", "ip-tos"},
		{"dscp", "ip-dscp"},
		{"buffer-length", "bw-buffer-size"},
		{"parallel", "bw-parallel-streams"},
		{"bandwidth", "bw-target-bandwidth"},
		{"window-size", "tcp-window-size"},
		{"dynamic-window-size", "tcp-dynamic-window-size"},
		{"mss", "tcp-max-segment-size"},
		{"omit", "bw-ignore-first-seconds"},
	},
	computed: func(spec object, metadata map[string]any) {
		metadata["ip-transport-protocol"] = "tcp"
		if isUDP(spec) {
			metadata["ip-transport-protocol"] = "udp"
		}
	},
	values: throughputValues,
}

func isUDP(spec object) bool { return spec["udp"] == true }

// isParallel reports whether a test has more than one stream.
func isParallel(spec object) bool {
	_, n, ok := numberOf(spec["parallel"])
	return ok && n > 1
}

// A figure is a member of what a tool measures, in all or in an interval.
type figure struct{ eventType, member string }

// speed is in bit/s. The counters are of TCP alone. The last two go out although
// metadata do not declare them, as from pScheduler: esmond stores none of them,
// another archive may.
var (
	speed    = figure{"throughput", "throughput-bits"}
	counters = []figure{{"packet-retransmits", "retransmits"}, {"packet-rtt", "rtt"}, {"tcp-windowsize", "tcp-window-size"}}
)

func throughputValues(spec, result object) values {
	var v values
	var tcp []figure
	summary := objectOf(result["summary"])
	total := objectOf(summary["summary"])
	v.number(speed.eventType, total[speed.member])
	if isUDP(spec) {
		v.number("packet-count-sent", total["sent"])
		v.number("packet-count-lost", total["lost"])
		v.rate("packet-loss-rate", total["lost"], total["sent"])
	} else {
		tcp = counters
	}
	for _, f := range tcp {
		v.number(f.eventType, total[f.member])
	}
	if isParallel(spec) {
		v.totals(tcp, listOf(summary["streams"]))
	}
	s := series{all: make(map[figure][]subinterval), each: make(map[figure]map[streamID][]subinterval), ids: make(map[streamID]bool)}
	s.read(append([]figure{speed}, tcp...), listOf(result["intervals"]))
	ofStreams := func(figures []figure) {
		for _, f := range figures {
			if isParallel(spec) && len(s.each[f]) > 0 {
				v.add(streams+f.eventType+subintervals, s.lists(f))
			}
		}
	}
	whole := func(figures []figure) {
		for _, f := range figures {
			if len(s.all[f]) > 0 {
				v.add(f.eventType+subintervals, s.all[f])
			}
		}
	}
	whole([]figure{speed})
	ofStreams([]figure{speed})
	whole(tcp)
	ofStreams(tcp)
	return v
}

// totals adds what the streams have in all, a list in the order of their numbers
// for each figure. Of counters, those that are 0 or missing are left out, as
// pScheduler has it.
func (v *values) totals(tcp []figure, all []any) {
	byID := make(map[streamID]object)
	for _, e := range all {
		if id, ok := idOf(objectOf(e)); ok {
			byID[id] = objectOf(e)
		}
	}
	ids := slices.SortedFunc(maps.Keys(byID), streamID.compare)
	if len(ids) == 0 {
		return
	}
	speeds := make([]any, len(ids))
	for i, id := range ids {
		if n, _, ok := numberOf(byID[id][speed.member]); ok {
			speeds[i] = n
		}
	}
	v.add(streams+speed.eventType, speeds)
	for _, f := range tcp {
		var list []json.Number
		for _, id := range ids {
			if n, value, ok := numberOf(byID[id][f.member]); ok && value != 0 {
				list = append(list, n)
			}
		}
		if len(list) > 0 {
			v.add(streams+f.eventType, list)
		}
	}
}

// A streamID is a number or a text.
type streamID struct {
	number float64
	text   string
}

func idOf(stream object) (streamID, bool) {
	if s := textOf(stream["stream-id"]); s != "" {
		return streamID{text: s}, true
	}
	_, f, ok := numberOf(stream["stream-id"])
	return streamID{number: f}, ok
}

func (a streamID) compare(b streamID) int {
	return cmp.Or(cmp.Compare(a.text, b.text), cmp.Compare(a.number, b.number))
}

// A subinterval is what was measured in a part of a test. Times are seconds.
type subinterval struct {
	Start    json.Number `json:"start"`
	Duration json.Number `json:"duration"`
	Val      json.Number `json:"val"`
}

// series are figures over time.
type series struct {
	all  map[figure][]subinterval
	each map[figure]map[streamID][]subinterval
	ids  map[streamID]bool // of all streams, also of those without the figure
}

// read reads the intervals of a test. An interval that does not say when it was is
// left out, and its streams with it.
func (s *series) read(figures []figure, intervals []any) {
	for _, e := range intervals {
		interval := objectOf(e)
		if summary := objectOf(interval["summary"]); len(summary) > 0 {
			whole, ok := period(summary)
			if !ok {
				continue
			}
			for _, f := range figures {
				if part, ok := whole.with(summary[f.member]); ok {
					s.all[f] = append(s.all[f], part)
				}
			}
		}
		for _, e := range listOf(interval["streams"]) {
			s.readStream(figures, objectOf(e))
		}
	}
}

func (s *series) readStream(figures []figure, stream object) {
	id, hasID := idOf(stream)
	whole, ok := period(stream)
	if !hasID || !ok {
		return
	}
	s.ids[id] = true
	for _, f := range figures {
		part, ok := whole.with(stream[f.member])
		if !ok {
			continue
		}
		if s.each[f] == nil {
			s.each[f] = make(map[streamID][]subinterval)
		}
		s.each[f][id] = append(s.each[f][id], part)
	}
}

// lists returns a figure of each stream, in the order of their numbers.
func (s *series) lists(f figure) [][]subinterval {
	var all [][]subinterval
	for _, id := range slices.SortedFunc(maps.Keys(s.ids), streamID.compare) {
		all = append(all, append([]subinterval{}, s.each[f][id]...)) // an empty list is [], not null
	}
	return all
}

// period returns when an interval was, without a value.
func period(o object) (subinterval, bool) {
	start, _, ok := numberOf(o["start"])
	end, _, ok2 := numberOf(o["end"])
	if !ok || !ok2 {
		return subinterval{}, false
	}
	d, ok := difference(start, end)
	return subinterval{Start: start, Duration: d}, ok
}

func (p subinterval) with(val any) (subinterval, bool) {
	n, _, ok := numberOf(val)
	p.Val = n
	return p, ok
}
