package mapping

import (
	"strconv"

	"owl/archive/iso8601"
)

// rtt is how round trips are mapped.
var rtt = kind{
	eventTypes: func(object) []string {
		return []string{
			failures, "packet-count-sent", "histogram-rtt", "histogram-ttl-reverse", "packet-duplicates-bidir",
			"packet-loss-rate-bidir", "packet-count-lost-bidir", "packet-reorders-bidir",
		}
	},
	fields: []field{
		{"count", "sample-size"},
		{"flowlabel", "ip-packet-flowlabel"},
		{"tos", "ip-tos"},
		{"length", "ip-packet-size"},
		{"ttl", "ip-ttl"},
	},
	// These two time-outs read as if they had been mistaken for each other, but
	// so are they in the series that there are.
	computed: durations(field{"interval", "time-probe-interval"}, field{"timeout", "time-test-timeout"}, field{"deadline", "time-probe-timeout"}),
	values: func(_, result object) values {
		var v values
		v.number("packet-count-sent", result["sent"])
		v.number("packet-count-lost-bidir", result["lost"])
		v.number("packet-duplicates-bidir", result["duplicates"])
		v.number("packet-reorders-bidir", result["reorders"])
		times, ttls := make(map[string]int), make(map[string]int)
		for _, e := range listOf(result["roundtrips"]) {
			trip := objectOf(e)
			if ms, ok := milliseconds(trip["rtt"]); ok {
				times[strconv.FormatFloat(ms, 'f', 2, 64)]++
			}
			if n, value, ok := numberOf(trip["ttl"]); ok && value != 0 {
				ttls[n.String()]++
			}
		}
		if len(times) > 0 {
			v.add("histogram-rtt", times)
		}
		if len(ttls) > 0 {
			v.add("histogram-ttl-reverse", ttls)
		}
		v.rate("packet-loss-rate-bidir", result["lost"], result["sent"])
		return v
	},
}

// milliseconds returns a duration as milliseconds, by pScheduler's arithmetic: its
// rounding shows in what is stored.
func milliseconds(v any) (float64, bool) {
	d, err := iso8601.ParseDuration(textOf(v))
	if err != nil {
		return 0, false
	}
	return seconds(d) * 1000, true
}
