package tstat

import (
	"fmt"
	"strings"
)

// A Format is what the objects of a message have in them.
type Format uint8

// The formats, each with more than the one before.
const (
	// Documented is that of the examples in the documentation of tstat-transport,
	// which is older than any release. Durations are in milliseconds, as tstat logs
	// them, with three decimals.
	Documented Format = iota
	V065              // what tstat_send 0.6.5 sends
	V068              // what tstat_send 0.6.8 sends, the last release
)

// formatNames are what formats are called on a command line.
var formatNames = [...]string{Documented: "documented", V065: "0.6.5", V068: "0.6.8"}

func (f Format) String() string { return formatNames[f] }

// ParseFormat reads the name of a format: 0.6.8, 0.6.5 or documented.
func ParseFormat(name string) (Format, error) {
	for f, n := range formatNames {
		if n == name {
			return Format(f), nil
		}
	}
	return 0, fmt.Errorf("%q: want 0.6.8, 0.6.5 or documented", name)
}

// A field is a member of an object's values.
type field struct {
	name  string
	since Format
	// from is the column that it is taken from as it is, without the c_ or s_ of
	// a direction; empty: it is made.
	from string
	made func(*flow) (value, error)
}

// ofEvery is how many of the first fields every flow has; the others are those of a
// TCP connection.
const ofEvery = 5

// fields are the members of values in their order.
var fields = []field{
	{name: "duration", made: (*flow).duration},
	{name: "num_bits", made: func(f *flow) (value, error) { return f.bits, nil }},
	{name: "num_packets", made: func(f *flow) (value, error) { return f.packets, nil }},
	{name: "bits_per_second", since: V065, made: func(f *flow) (value, error) { return f.rate(f.bits) }},
	{name: "packets_per_second", since: V065, made: func(f *flow) (value, error) { return f.rate(f.packets) }},
	{name: "tcp_rexmit_bytes", from: "bytes_retx"},
	{name: "tcp_rexmit_pkts", from: "pkts_retx"},
	{name: "tcp_rexmit_rate", since: V068, made: (*flow).retransmitted},
	{name: "tcp_syn_cnt", since: V068, from: "syn_cnt"},
	{name: "tcp_rtt_avg", from: "rtt_avg"},
	{name: "tcp_rtt_min", from: "rtt_min"},
	{name: "tcp_rtt_max", from: "rtt_max"},
	{name: "tcp_rtt_std", from: "rtt_std"},
	{name: "tcp_pkts_rto", from: "pkts_rto"},
	{name: "tcp_pkts_fs", from: "pkts_fs"},
	{name: "tcp_pkts_reor", from: "pkts_reor"},
	{name: "tcp_pkts_dup", from: "pkts_dup"},
	{name: "tcp_pkts_unk", from: "pkts_unk"},
	{name: "tcp_pkts_fc", from: "pkts_fc"},
	{name: "tcp_pkts_unrto", from: "pkts_unrto"},
	{name: "tcp_pkts_unfs", from: "pkts_unfs"},
	{name: "tcp_cwin_min", from: "cwin_min"},
	{name: "tcp_cwin_max", from: "cwin_max"},
	{name: "tcp_out_seq_pkts", from: "pkts_ooo"},
	{name: "tcp_window_scale", from: "win_scl"},
	{name: "tcp_mss", made: (*flow).segmentSize},
	{name: "tcp_max_seg_size", from: "mss_max"},
	{name: "tcp_min_seg_size", from: "mss_min"},
	{name: "tcp_win_max", from: "cwin_max"}, // not win_max, which tstat logs as well
	{name: "tcp_win_min", from: "cwin_min"},
	{name: "tcp_initial_cwin", from: "cwin_ini"},
	{name: "tcp_sack_cnt", since: V065, made: (*flow).selective},
}

// Messages are indented as Python's json does with an indent of 4.
const (
	objectIndent = "\n    "
	memberIndent = objectIndent + "    "
	innerIndent  = memberIndent + "    "
)

// tail returns what is behind the protocol in an object's meta.
func (o *Options) tail() string {
	if o.Format == Documented {
		return memberIndent + "}"
	}
	instance := "0"
	if o.Instance != nil {
		instance = string(appendText(nil, []byte(*o.Instance)))
	}
	return strings.Join([]string{
		`,` + innerIndent + `"sensor_id": ` + string(appendText(nil, []byte(o.Sensor))),
		`,` + innerIndent + `"instance_id": ` + instance,
		`,` + innerIndent + `"flow_type": "tstat"` + memberIndent + `}`,
	}, "")
}
