package metrics

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"owl/probe/clock"
)

func TestClock(t *testing.T) {
	state := clock.State{
		MaxError: 4500 * time.Microsecond,
		Steps:    clock.Steps{Count: 2, Sum: -1500 * time.Millisecond},
		Sources: []clock.Source{
			{
				Via: clock.ViaChrony, Name: "127.0.0.1:323", Synchronized: true, Last: time.Unix(1_700_000_000, 5e8), Answered: 9, Failed: 1,
				Figures: clock.Figures{Offset: -2 * time.Microsecond, Delay: time.Millisecond, Dispersion: 300 * time.Microsecond,
					Jitter: 700, Wander: 0.25, Poll: 64 * time.Second, Reach: 253, Stratum: 3},
			},
			{Via: clock.ViaNTP, Name: "ntp.example.net", Failed: 3, Err: errors.New("no route to host"), Figures: clock.Figures{Stratum: 16}},
		},
	}
	reg := prometheus.NewRegistry()
	if err := registerClock(reg, func() clock.State { return state }); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/clock.txt")
	if err != nil {
		t.Fatal(err)
	}
	// What a server that has not answered yet would say is not there, so that
	// nobody takes 0 for an offset.
	if err := testutil.GatherAndCompare(reg, strings.NewReader(string(want))); err != nil {
		t.Error(err)
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) != 0 {
		t.Errorf("%v, %v", problems, err)
	}
	if err := registerClock(reg, func() clock.State { return state }); err == nil {
		t.Error("registered twice without an error")
	}
}
