package series

import (
	"maps"
	"slices"
)

// An EventType names what is measured, such as histogram-owdelay.
type EventType string

// A Kind is what form the values of an event type have.
type Kind uint8

// The kinds.
const (
	Integer     Kind = iota + 1 // 64 bits
	Float                       // a multiple of 1/10000
	Percentage                  // a numerator, and a denominator greater than 0
	Histogram                   // labels with counts
	Subinterval                 // a list of intervals, each with its value
	JSON                        // anything
)

var kindNames = [...]string{Integer: "integer", Float: "float", Percentage: "percentage", Histogram: "histogram", Subinterval: "subinterval", JSON: "json"}

// String returns the name of a kind, as esmond has it.
func (k Kind) String() string {
	if int(k) < len(kindNames) && k != 0 {
		return kindNames[k]
	}
	return "unknown"
}

// Once reports whether a series has one value a second that stays: another value
// for the same second is a conflict. Of the other kinds a later value replaces the
// one that is there.
func (k Kind) Once() bool { return k == Integer || k == Float || k == Percentage }

// kinds are the event types of the REST guide, and those that esmond has beyond
// them.
var kinds = map[EventType]Kind{
	"failures":                        JSON,
	"histogram-owdelay":               Histogram,
	"histogram-rtt":                   Histogram,
	"histogram-ttl":                   Histogram,
	"histogram-ttl-reverse":           Histogram,
	"iostat":                          JSON,
	"mpstat":                          JSON,
	"ntp-delay":                       Float,
	"ntp-dispersion":                  Float,
	"ntp-jitter":                      Float,
	"ntp-offset":                      Float,
	"ntp-polling-interval":            Float,
	"ntp-reach":                       Integer,
	"ntp-stratum":                     Integer,
	"ntp-wander":                      Float,
	"packet-count-lost":               Integer,
	"packet-count-lost-bidir":         Integer,
	"packet-count-sent":               Integer,
	"packet-duplicates":               Integer,
	"packet-duplicates-bidir":         Integer,
	"packet-loss-rate":                Percentage,
	"packet-loss-rate-bidir":          Percentage,
	"packet-reorders":                 Integer,
	"packet-reorders-bidir":           Integer,
	"packet-retransmits":              Integer,
	"packet-retransmits-subintervals": Subinterval,
	"packet-rtt":                      Integer,
	"packet-rtt-subintervals":         Subinterval,
	"packet-trace":                    JSON,
	"packet-trace-multi":              JSON,
	"path-mtu":                        Integer,
	"pscheduler-raw":                  JSON,
	"pscheduler-run-href":             JSON,
	"rusage":                          JSON,
	"streams-packet-retransmits":      JSON,
	"streams-packet-retransmits-subintervals": JSON,
	"streams-packet-rtt":                      JSON,
	"streams-packet-rtt-subintervals":         JSON,
	"streams-tcp-windowsize":                  JSON,
	"streams-tcp-windowsize-subintervals":     JSON,
	"streams-tcpinfo":                         JSON,
	"streams-throughput":                      JSON,
	"streams-throughput-subintervals":         JSON,
	"tcp-windowsize":                          Integer,
	"tcp-windowsize-subintervals":             Subinterval,
	"tcpinfo":                                 JSON,
	"throughput":                              Integer,
	"throughput-subintervals":                 Subinterval,
	"time-error-estimates":                    Float,
}

// Kind returns the kind of an event type's values; false: there is no such event
// type.
func (t EventType) Kind() (Kind, bool) {
	k, ok := kinds[t]
	return k, ok
}

// EventTypes returns all event types, by name.
func EventTypes() []EventType { return slices.Sorted(maps.Keys(kinds)) }
