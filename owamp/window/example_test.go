package window_test

import (
	"fmt"

	"owl/owamp"
	"owl/owamp/schedule"
	"owl/owamp/window"
)

func Example() {
	const start owamp.Timestamp = 0xeeaba5f0877fe088
	sid, _ := owamp.ParseSID("2872979303ab47eeac028dab3829dab2")
	g, err := schedule.New(sid, []owamp.Slot{{Type: owamp.SlotFixed, Parameter: owamp.IntervalSeconds(0.1)}})
	if err != nil {
		panic(err)
	}
	w, err := window.New(g, start, 3, owamp.IntervalSeconds(2))
	if err != nil {
		panic(err)
	}

	due := start.Add(owamp.IntervalSeconds(0.1)) // packet 0
	r := owamp.Record{Seq: 0, Sent: due, Recv: due + 4000}
	fmt.Println(w.Arrive(&r))
	fmt.Println(w.Arrive(&r))

	stopped := start.Add(owamp.IntervalSeconds(4))
	w.Expire(stopped, func(r *owamp.Record) { fmt.Println("packet", r.Seq, "is lost") })

	// The sender says that it never sent the last packet.
	fmt.Printf("%+v\n", w.Settle(3, []owamp.SkipRange{{First: 2, Last: 2}}, stopped))
	// Output:
	// recorded
	// duplicate
	// packet 1 is lost
	// packet 2 is lost
	// {Received:1 Lost:1 NotSent:1 NotCovered:0}
}
