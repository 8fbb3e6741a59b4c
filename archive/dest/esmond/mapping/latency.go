package mapping

// latency is how one-way measurements are mapped: latencybg by powstream, and
// latency by owping. Delays stay in the unit that their labels have, milliseconds.
var latency = kind{
	eventTypes: func(object) []string {
		return []string{
			failures, "packet-count-sent", "histogram-owdelay", "histogram-ttl", "packet-duplicates",
			"packet-loss-rate", "packet-count-lost", "packet-reorders", "time-error-estimates",
		}
	},
	fields: []field{
		{"packet-count", "sample-size"},
		{"bucket-width", "sample-bucket-width"},
		{"packet-interval", "time-probe-interval"},
		{"packet-timeout", "time-probe-timeout"},
		{"ip-tos", "ip-tos"},
		{"flip", "mode-flip"},
		{"packet-padding", "ip-packet-padding"},
		{"single-participant-mode", "mode-single-participant"},
	},
	values: func(_, result object) values {
		var v values
		v.histogram("histogram-owdelay", result["histogram-latency"])
		v.histogram("histogram-ttl", result["histogram-ttl"])
		v.number("packet-count-sent", result["packets-sent"])
		v.number("packet-count-lost", result["packets-lost"])
		v.number("packet-reorders", result["packets-reordered"])
		v.number("packet-duplicates", result["packets-duplicated"])
		v.number("time-error-estimates", result["max-clock-error"])
		v.rate("packet-loss-rate", result["packets-lost"], result["packets-sent"])
		return v
	},
}
