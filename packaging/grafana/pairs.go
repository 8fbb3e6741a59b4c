package main

// pair is where an archive has a pair of hosts as CSV, from the URL of the data
// source on, for the time that Grafana shows.
const pair = "/api/pair.csv?source=$source&destination=$destination&from=${__from:date:seconds}&to=${__to:date:seconds}"

// back is the same the other way round.
const back = "/api/pair.csv?source=$destination&destination=$source&from=${__from:date:seconds}&to=${__to:date:seconds}"

var pairs = dashboard{
	file: "owl-pair.json", uid: "owl-pair", title: "Owl: two hosts", source: "yesoreyeram-infinity-datasource",
	about: "What a measurement archive has of two hosts, both directions, by Grafana's data source Infinity, whose base URL is that of the archive.",
	variables: []variable{
		{name: "source", label: "Source", value: "192.0.2.1"},
		{name: "destination", label: "Destination", value: "192.0.2.2"},
	},
	rows: []row{
		{"$source → $destination", []panel{delay(pair), loss(pair)}},
		{"$destination → $source", []panel{delay(back), loss(back)}},
		{"Both", []panel{
			{title: "Reordered, duplicated", unit: "short", zero: true, questions: []question{
				{query: pair, column: "reordered", legend: "reordered →"},
				{query: pair, column: "duplicated", legend: "duplicated →"},
				{query: back, column: "reordered", legend: "reordered ←"},
				{query: back, column: "duplicated", legend: "duplicated ←"},
			}},
			{title: "Clock error", unit: "ms", zero: true, questions: []question{
				{query: pair, column: "clock_error_ms", legend: "→"},
				{query: back, column: "clock_error_ms", legend: "←"},
			}},
		}},
	},
}

func delay(query string) panel {
	p := panel{title: "Delay", unit: "ms"}
	for _, c := range []struct{ column, legend string }{
		{"min_ms", "least"}, {"p5_ms", "5 %"}, {"median_ms", "median"}, {"p95_ms", "95 %"}, {"max_ms", "most"},
	} {
		p.questions = append(p.questions, question{query: query, column: c.column, legend: c.legend})
	}
	return p
}

func loss(query string) panel {
	return panel{title: "Packets", unit: "short", zero: true, questions: []question{
		{query: query, column: "sent", legend: "sent"},
		{query: query, column: "lost", legend: "lost"},
	}}
}
