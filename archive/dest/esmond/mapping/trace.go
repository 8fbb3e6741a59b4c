package mapping

import "encoding/json"

// paris is the algorithm of those traces that can have more than one path.
const paris = "paris-traceroute"

// trace is how the ways of packets are mapped.
var trace = kind{
	eventTypes: func(spec object) []string {
		types := []string{failures, "packet-trace", "path-mtu"}
		if spec["algorithm"] == paris {
			types = append(types, "packet-trace-multi")
		}
		return types
	},
	fields: []field{
		{"algorithm", "trace-algorithm"},
		{"first-ttl", "trace-first-ttl"},
		{"fragment", "ip-fragment"},
		{"hops", "trace-max-ttl"},
		{"length", "ip-packet-size"},
		{"probe-type", "ip-transport-protocol"},
		{"queries", "trace-num-queries"},
		{"tos", "ip-tos"},
	},
	computed: durations(field{"sendwait", "time-probe-interval"}, field{"wait", "time-test-timeout"}),
	values: func(spec, result object) values {
		var v values
		paths, mtu := readPaths(result["paths"])
		for _, p := range paths {
			if len(p) > 0 {
				v.add("packet-trace", p)
				break
			}
		}
		if mtu != "" {
			v.add("path-mtu", mtu)
		}
		if spec["algorithm"] == paris && len(paths) > 0 {
			v.add("packet-trace-multi", paths)
		}
		return v
	},
}

// A hop is a host on the way, as packet-trace has it.
type hop struct {
	TTL     int         `json:"ttl"` // where it is on the way, from 1
	Query   int         `json:"query"`
	Success int         `json:"success"` // 0: it has told of an error; 1 also if it has not answered
	Error   string      `json:"error-message,omitempty"`
	IP      string      `json:"ip,omitempty"`
	Host    string      `json:"hostname,omitempty"`
	AS      *system     `json:"as,omitempty"`
	RTT     json.Number `json:"rtt,omitempty"` // milliseconds
	MTU     json.Number `json:"mtu,omitempty"` // octets, of the last hop that had one
}

// A system is an autonomous one.
type system struct {
	Number json.Number `json:"number"`
	Owner  string      `json:"owner,omitempty"`
}

// readPaths reads the paths of a trace, and the least MTU on any of them; empty:
// it is not known. The MTU of a hop without one is that of the hop before it, be
// it on the path before.
func readPaths(v any) (paths [][]hop, least json.Number) {
	var mtu json.Number
	var leastValue float64
	for _, p := range listOf(v) {
		path := []hop{}
		for i, e := range listOf(p) {
			h := readHop(objectOf(e), i+1)
			if n, value, ok := numberOf(objectOf(e)["mtu"]); ok && value != 0 {
				if mtu = n; least == "" || value < leastValue {
					least, leastValue = n, value
				}
			}
			h.MTU = mtu
			path = append(path, h)
		}
		paths = append(paths, path)
	}
	return paths, least
}

// readHop reads a hop but for its MTU. A hop that was lost is empty.
func readHop(o object, ttl int) hop {
	h := hop{TTL: ttl, Query: 1, Success: 1, Error: textOf(o["error"]), IP: textOf(o["ip"]), Host: textOf(o["hostname"])}
	if h.Error != "" {
		h.Success = 0
	}
	as := objectOf(o["as"])
	if n, _, ok := numberOf(as["number"]); ok {
		h.AS = &system{n, textOf(as["owner"])}
	}
	if ms, ok := milliseconds(o["rtt"]); ok {
		h.RTT = decimal(ms)
	}
	return h
}
