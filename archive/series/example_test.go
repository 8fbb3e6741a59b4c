package series_test

import (
	"fmt"

	"owl/archive/series"
)

// Two minutes of delays become one window of five: what a store keeps of it, and
// what clients read.
func ExampleFold() {
	window := series.NewFold(series.Histogram)
	for _, raw := range []string{`{"34.30": 440, "34.40": 160}`, `{"34.30": 300, "34.5": 1}`} {
		v, err := series.Parse(series.Histogram, []byte(raw))
		if err == nil {
			err = window.Add(v)
		}
		if err != nil {
			fmt.Println(err)
			return
		}
	}
	fmt.Println(series.WindowStart(1777636860, 300), len(window.AppendBinary(nil)), "octets")
	fmt.Printf("%s\n", window.AppendJSON(nil, series.Aggregation))
	s, _ := window.Statistics()
	fmt.Println(s.Mode, s.Minimum, s.Median, s.P95, s.Maximum)
	// Output:
	// 1777636800 14 octets
	// {"34.30": 740, "34.40": 160, "34.5": 1}
	// [34.3] 34.3 34.3 34.4 34.5
}
