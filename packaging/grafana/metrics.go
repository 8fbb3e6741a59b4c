package main

// chosen are the streams that the variables choose.
const chosen = `stream=~"$stream",source=~"$source",destination=~"$destination",direction=~"$direction"`

var streams = dashboard{
	file: "owl-streams.json", uid: "owl-streams", title: "Owl: one-way latency", source: "prometheus",
	about: "What powstream, owampd and owagent measure, live: delay, loss, and how far both can be trusted.",
	variables: []variable{
		{name: "source", label: "Source", query: `label_values(owamp_packets_total, source)`},
		{name: "destination", label: "Destination", query: `label_values(owamp_packets_total{source=~"$source"}, destination)`},
		{name: "direction", label: "Direction", query: `label_values(owamp_packets_total, direction)`},
		{name: "stream", label: "Stream", query: `label_values(owamp_packets_total{source=~"$source",destination=~"$destination"}, stream)`},
	},
	rows: []row{
		{"Delay", []panel{
			{title: "Median", unit: "s", about: "Of the packets of five minutes.", questions: []question{
				{query: `histogram_quantile(0.5, sum by (source, destination, stream, le) (rate(owamp_one_way_delay_seconds_bucket{` + chosen + `}[5m])))`, legend: "{{source}} → {{destination}} {{stream}}"},
			}},
			{title: "95th percentile", unit: "s", about: "Of the packets of five minutes.", questions: []question{
				{query: `histogram_quantile(0.95, sum by (source, destination, stream, le) (rate(owamp_one_way_delay_seconds_bucket{` + chosen + `}[5m])))`, legend: "{{source}} → {{destination}} {{stream}}"},
			}},
			{title: "All delays", kind: "heatmap", width: 24, unit: "short", about: "Packets by their delay, of all streams that are chosen.", questions: []question{
				{query: `sum by (le) (increase(owamp_one_way_delay_seconds_bucket{` + chosen + `}[$__rate_interval]))`, legend: "{{le}}"},
			}},
		}},
		{"Loss", []panel{
			{title: "Packets lost", unit: "percentunit", zero: true, questions: []question{
				{query: `sum by (source, destination, stream) (rate(owamp_packets_total{state="lost",` + chosen + `}[5m])) / sum by (source, destination, stream) (rate(owamp_packets_total{state=~"lost|received",` + chosen + `}[5m]))`, legend: "{{source}} → {{destination}} {{stream}}"},
			}},
			{title: "Lost by whom", unit: "pps", zero: true, stacked: true, about: "The network, this host, what may have been this host, or nobody knows.", questions: []question{
				{query: `sum by (cause) (rate(owamp_packets_lost_by_cause_total{` + chosen + `}[5m]))`, legend: "{{cause}}"},
			}},
			{title: "Duplicates, reordered, late", unit: "pps", zero: true, questions: []question{
				{query: `sum(rate(owamp_packets_duplicated_total{` + chosen + `}[5m]))`, legend: "duplicates"},
				{query: `sum(rate(owamp_packets_reordered_total{` + chosen + `}[5m]))`, legend: "reordered"},
				{query: `sum(rate(owamp_packets_late_total{` + chosen + `}[5m]))`, legend: "late"},
			}},
			{title: "Packets received", unit: "pps", zero: true, questions: []question{
				{query: `sum by (source, destination, stream) (rate(owamp_packets_total{state="received",` + chosen + `}[5m]))`, legend: "{{source}} → {{destination}} {{stream}}"},
			}},
		}},
		{"How far to trust it", []panel{
			{title: "Measured", unit: "percentunit", about: "How much of the time was measured.", questions: []question{
				{query: `owamp_completeness_ratio{` + chosen + `}`, legend: "{{source}} → {{destination}} {{stream}}"},
			}},
			{title: "Gaps", unit: "percentunit", zero: true, stacked: true, about: "Time that was not measured, by its reason; 100 % is one stream.", questions: []question{
				{query: `sum by (reason) (rate(owamp_gap_seconds_total{` + chosen + `}[5m]))`, legend: "{{reason}}"},
			}},
			{title: "Clock error", unit: "s", zero: true, about: "How far the clocks may be off, of hosts whose clock is synchronized.", questions: []question{
				{query: `owamp_clock_error_seconds{` + chosen + `} and owamp_clock_synchronized{` + chosen + `} == 1`, legend: "{{source}} → {{destination}} {{stream}}"},
			}},
			{title: "Hops", unit: "short", questions: []question{
				{query: `owamp_hops{` + chosen + `}`, legend: "{{source}} → {{destination}} {{stream}}"},
			}},
		}},
	},
}

var host = dashboard{
	file: "owl-host.json", uid: "owl-host", title: "Owl: measuring hosts", source: "prometheus",
	about:     "The hosts that measure: their clocks, what they may have done to packets, and the results that wait for archives.",
	variables: []variable{{name: "instance", label: "Instance", query: `label_values(owl_build_info, instance)`}},
	rows: []row{
		{"Clock", []panel{
			{title: "At most off by", unit: "s", zero: true, questions: []question{
				{query: `owl_clock_max_error_seconds{instance=~"$instance"}`, legend: "{{instance}}"},
			}},
			{title: "What servers say", unit: "s", about: "How far each NTP server, and chronyd, says that the clock is off.", questions: []question{
				{query: `owl_clock_source_offset_seconds{instance=~"$instance"}`, legend: "{{instance}} {{via}} {{server}}"},
			}},
			{title: "Steps", unit: "short", width: 8, zero: true, questions: []question{
				{query: `increase(owl_clock_steps_total{instance=~"$instance"}[$__range])`, legend: "{{instance}}"},
			}, kind: "stat", bad: 1},
			{title: "Servers that do not answer", unit: "reqps", width: 8, zero: true, questions: []question{
				{query: `rate(owl_clock_source_failures_total{instance=~"$instance"}[5m])`, legend: "{{instance}} {{server}}"},
			}},
			{title: "From the stamp to the wire", unit: "s", width: 8, zero: true, questions: []question{
				{query: `owl_transmit_gap_seconds{quantile="0.99",instance=~"$instance"}`, legend: "{{instance}}"},
			}},
		}},
		{"What may lose packets here", []panel{
			{title: "Dropped", unit: "pps", zero: true, questions: []question{
				{query: `rate(owl_host_udp_overflows_total{instance=~"$instance"}[5m])`, legend: "{{instance}} receive buffers"},
				{query: `rate(owl_host_softnet_dropped_total{instance=~"$instance"}[5m])`, legend: "{{instance}} kernel"},
				{query: `rate(owl_host_device_dropped_total{instance=~"$instance"}[5m])`, legend: "{{instance}} interfaces"},
			}},
			{title: "Waiting for a processor", unit: "percentunit", zero: true, questions: []question{
				{query: `rate(owl_host_cpu_waiting_seconds_total{instance=~"$instance"}[5m])`, legend: "{{instance}} programs"},
				{query: `rate(owl_host_cpu_stolen_seconds_total{instance=~"$instance"}[5m])`, legend: "{{instance}} the machine"},
			}},
			{title: "Owl was late", unit: "ops", zero: true, questions: []question{
				{query: `rate(owl_host_late_reads_total{instance=~"$instance"}[5m])`, legend: "{{instance}} reading"},
				{query: `rate(owl_host_late_sends_total{instance=~"$instance"}[5m])`, legend: "{{instance}} sending"},
			}},
			{title: "Sent after its time", unit: "s", zero: true, questions: []question{
				{query: `owl_schedule_slip_seconds{quantile="0.99",instance=~"$instance"}`, legend: "{{instance}}"},
			}},
		}},
		{"Results on their way", []panel{
			{title: "Waiting", unit: "short", zero: true, questions: []question{
				{query: `owl_archive_queued{instance=~"$instance"} + owl_archive_waiting{instance=~"$instance"}`, legend: "{{instance}} {{destination}}"},
			}},
			{title: "Age of the oldest", unit: "s", zero: true, questions: []question{
				{query: `owl_archive_oldest_seconds{instance=~"$instance"}`, legend: "{{instance}} {{destination}}"},
			}},
			{title: "Delivered", unit: "ops", width: 8, zero: true, questions: []question{
				{query: `rate(owl_archive_delivered_total{instance=~"$instance"}[5m])`, legend: "{{instance}} {{destination}}"},
			}},
			{title: "Given up", unit: "short", width: 8, zero: true, stacked: true, questions: []question{
				{query: `sum by (instance, destination, reason) (increase(owl_archive_dropped_total{instance=~"$instance"}[5m]))`, legend: "{{instance}} {{destination}}: {{reason}}"},
				{query: `increase(owl_archive_buried_total{instance=~"$instance"}[5m])`, legend: "{{instance}} {{destination}}: failed for good"},
			}},
			{title: "The queue", unit: "percentunit", width: 8, zero: true, about: "How full it is.", questions: []question{
				{query: `owl_archive_queue_bytes{instance=~"$instance"} / owl_archive_queue_limit_bytes{instance=~"$instance"}`, legend: "{{instance}}"},
			}},
		}},
	},
}

var archive = dashboard{
	file: "owl-archive.json", uid: "owl-archive", title: "Owl: measurement archive", source: "prometheus",
	about:     "How owarchive, or the archive in owagent, fares.",
	variables: []variable{{name: "instance", label: "Instance", query: `label_values(owl_store_measurements, instance)`}},
	rows: []row{
		{"At a glance", []panel{
			{title: "Cannot be written", kind: "stat", width: 4, unit: "short", bad: 1, about: "0: it can; 1: the log says why not.", questions: []question{
				{query: `owl_store_failing{instance=~"$instance"}`, legend: "{{instance}}"},
			}},
			{title: "Measurements", kind: "stat", width: 4, unit: "short", questions: []question{
				{query: `owl_store_measurements{instance=~"$instance"}`, legend: "{{instance}}"},
			}},
			{title: "Size", kind: "stat", width: 4, unit: "bytes", questions: []question{
				{query: `owl_store_size_bytes{instance=~"$instance"}`, legend: "{{instance}}"},
			}},
			{title: "A day adds", kind: "stat", width: 4, unit: "bytes", questions: []question{
				{query: `owl_store_daily_growth_bytes{instance=~"$instance"}`, legend: "{{instance}}"},
			}},
			{title: "Until the disk is full", kind: "stat", width: 4, unit: "s", questions: []question{
				{query: `owl_store_full_timestamp_seconds{instance=~"$instance"} - time()`, legend: "{{instance}}"},
			}},
			{title: "Until the certificate ends", kind: "stat", width: 4, unit: "s", questions: []question{
				{query: `owl_store_certificate_expiry_timestamp_seconds{instance=~"$instance"} - time()`, legend: "{{instance}}"},
			}},
		}},
		{"Requests", []panel{
			{title: "Requests", unit: "reqps", zero: true, stacked: true, questions: []question{
				{query: `sum by (route) (rate(owl_store_requests_total{instance=~"$instance"}[5m])) > 0`, legend: "{{route}}"},
			}},
			{title: "Refused and failed", unit: "reqps", zero: true, stacked: true, questions: []question{
				{query: `sum by (route, code) (rate(owl_store_requests_total{code=~"[45]..",instance=~"$instance"}[5m])) > 0`, legend: "{{route}} {{code}}"},
			}},
			{title: "How long writes take", unit: "s", zero: true, questions: quantiles("write")},
			{title: "How long reads take", unit: "s", zero: true, questions: quantiles("read|search|data")},
			{title: "Connections", unit: "short", zero: true, width: 8, questions: []question{
				{query: `owl_store_connections{instance=~"$instance"}`, legend: "{{instance}}"},
				{query: `owl_store_connections_limit{instance=~"$instance"}`, legend: "{{instance}} at most"},
			}},
			{title: "Active requests", unit: "short", zero: true, width: 8, questions: []question{
				{query: `owl_store_requests_active{instance=~"$instance"}`, legend: "{{instance}}"},
			}},
			{title: "Too many", unit: "ops", zero: true, width: 8, questions: []question{
				{query: `rate(owl_store_requests_refused_total{instance=~"$instance"}[5m])`, legend: "{{instance}} requests without a turn"},
				{query: `rate(owl_store_connections_evicted_total{instance=~"$instance"}[5m])`, legend: "{{instance}} connections that had to go"},
			}},
		}},
		{"Store", []panel{
			{title: "Points written", unit: "cps", zero: true, questions: []question{
				{query: `rate(owl_store_points_written_total{instance=~"$instance"}[5m])`, legend: "{{instance}}"},
			}},
			{title: "Writes", unit: "wps", zero: true, stacked: true, questions: []question{
				{query: `sum by (outcome) (rate(owl_store_writes_total{instance=~"$instance"}[5m]))`, legend: "{{outcome}}"},
			}},
			{title: "Points a commit", unit: "short", zero: true, about: "How many wait for the disk together.", questions: []question{
				{query: `rate(owl_store_points_written_total{instance=~"$instance"}[5m]) / rate(owl_store_commits_total{instance=~"$instance"}[5m])`, legend: "{{instance}}"},
			}},
			{title: "Disk", unit: "bytes", zero: true, questions: []question{
				{query: `owl_store_size_bytes{instance=~"$instance"}`, legend: "{{instance}} archive"},
				{query: `owl_store_free_bytes{instance=~"$instance"}`, legend: "{{instance}} free"},
			}},
			{title: "Memory", unit: "bytes", zero: true, questions: []question{
				{query: `process_resident_memory_bytes{instance=~"$instance"} and on (instance) owl_store_measurements`, legend: "{{instance}}"},
			}},
			{title: "Mistakes in the program", kind: "stat", unit: "short", bad: 1, about: "The log has each of them; please report it.", questions: []question{
				{query: `owl_store_panics_total{instance=~"$instance"}`, legend: "{{instance}}"},
			}},
		}},
	},
}

// quantiles ask how long the requests of some routes take.
func quantiles(routes string) []question {
	var all []question
	for _, q := range []struct{ p, name string }{{"0.5", "median"}, {"0.95", "95 %"}, {"0.99", "99 %"}} {
		all = append(all, question{
			query:  `histogram_quantile(` + q.p + `, sum by (le) (rate(owl_store_request_seconds_bucket{route=~"` + routes + `",instance=~"$instance"}[5m])))`,
			legend: q.name,
		})
	}
	return all
}
