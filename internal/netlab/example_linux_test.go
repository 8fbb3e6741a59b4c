package netlab_test

import (
	"fmt"
	"testing"
	"time"

	"owl/internal/netlab"
)

// A test of how something bears a path that loses packets, and then is away for
// a while.
func ExampleNewWire() {
	_ = func(t *testing.T) {
		bad := netlab.Path{
			Delay:  10 * time.Millisecond,
			Jitter: netlab.Exponential(time.Millisecond),
			Bursts: netlab.Bursts{Begin: 0.01, Mean: 3},
		}
		a, b, wire := netlab.NewWire(t, 1, netlab.Path{})
		wire.BA.Play(
			netlab.Step{For: 5 * time.Second, Path: bad},
			netlab.Step{For: 2 * time.Second, Path: netlab.Path{Down: true}},
			netlab.Step{}, // from then on nothing is harmed
		)

		// Run programs by b.Start and a.Start, open sockets within b.Do and
		// a.Do, and hold what they report against what is true:
		fmt.Println(b.Addr4, "to", a.Addr4, wire.BA.Counts())
		for _, e := range wire.BA.Log() {
			fmt.Println(e.N, e.Action, e.Out.Sub(e.In))
		}
	}
}
