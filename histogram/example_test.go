package histogram_test

import (
	"fmt"
	"time"

	"owl/histogram"
)

func ExampleLive() {
	var h histogram.Live
	for us := range int64(1000) {
		h.Insert((2000 + us) * 1000)
	}
	median := time.Duration(h.Quantile(0.5))
	fmt.Println(h.Count(), time.Duration(h.Min()), median.Round(50*time.Microsecond), time.Duration(h.Max()))
	// Output: 1000 2ms 2.5ms 2.999ms
}
