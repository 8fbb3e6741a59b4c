package control_test

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/netip"
	"time"

	"owl/owamp"
	"owl/owamp/control"
)

// Asking a server for ten packets a second, and to say in the end what it has
// sent. Sending and receiving is not this package's.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, server := net.Pipe() // as a rule net.Dialer.DialContext
	serveExample(ctx, server)

	c, err := control.Connect(ctx, conn, control.ClientConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	answers, err := c.Request(ctx, []owamp.SessionSpec{{
		ConfSender: true,
		Slots:      []owamp.Slot{{Type: owamp.SlotExponential, Parameter: owamp.IntervalOf(100 * time.Millisecond)}},
		Packets:    600,
		Sender:     netip.MustParseAddrPort("192.0.2.1:0"),
		Receiver:   netip.MustParseAddrPort("192.0.2.2:8760"),
		SID:        owamp.SID{192, 0, 2, 2},
		Start:      owamp.FromTime(time.Now().Add(time.Second)),
		Timeout:    owamp.IntervalOf(2 * time.Second),
	}})
	if err != nil || answers[0].Accept != owamp.AcceptOK {
		fmt.Println(answers, err)
		return
	}
	fmt.Println("packets come from port", answers[0].Port)
	if err := c.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}
	reports, err := c.Stop(ctx, nil) // or Await, until the server stops
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("packets sent:", reports[0].NextSeq)
	// Output:
	// packets come from port 9001
	// packets sent: 17
}

func serveExample(ctx context.Context, conn net.Conn) {
	h := newHandler()
	h.reports = []owamp.SendReport{{SID: owamp.SID{192, 0, 2, 2}, NextSeq: 17}}
	cfg := control.ServerConfig{Modes: owamp.ModeOpen, Peer: netip.MustParseAddr("192.0.2.2")}
	serveOn(ctx, conn, cfg, h)
}

// Fetching what a server has received, as far as it has come.
func ExampleClient_Fetch() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, server := net.Pipe() // as a rule net.Dialer.DialContext
	k := randomKept(1, 1, 0, 2000)
	serveOn(ctx, server, openMode(), newFetcher(k.answer))

	c, err := control.Connect(ctx, conn, control.ClientConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	lost := 0
	err = c.Fetch(ctx, k.head.Spec.SID, 0, math.MaxUint32, func(f *control.Fetched) (func([]owamp.Record) error, error) {
		fmt.Printf("%d packets, %d records\n", f.Spec.Packets, f.Records)
		return func(recs []owamp.Record) error {
			for i := range recs {
				if recs[i].Lost() {
					lost++
				}
			}
			return nil
		}, nil
	})
	fmt.Println("lost:", lost, err)
	// Output:
	// 2000 packets, 2000 records
	// lost: 1025 <nil>
}
