package main

import (
	"fmt"
	"testing"

	"owl/internal/agentfile"
	"owl/owamp"
)

// Streams with one server share connections, as far as their sessions end
// together; those of which each has a server do not.
func TestDescriptors(t *testing.T) {
	for _, test := range []struct {
		streams, servers int
		packets          uint32
		interval         float64
		periodic, send   bool
		low, high        uint64 // connections
	}{
		{streams: 1, servers: 1, packets: 300, interval: 0.1, low: 2, high: 2},
		{streams: 1, servers: 1, packets: 300, interval: 0.1, send: true, low: 6, high: 6},
		{streams: 1000, servers: 1, packets: 300, interval: 0.1, low: 50, high: 200},
		{streams: 10000, servers: 1, packets: 300, interval: 0.1, low: 300, high: 500},
		{streams: 10000, servers: 1, packets: 300, interval: 0.1, periodic: true, low: 300, high: 350},
		{streams: 1000, servers: 1000, packets: 300, interval: 0.1, low: 2000, high: 2000},
		// Sessions of five hours end minutes apart.
		{streams: 100, servers: 1, packets: 18000, interval: 1, low: 200, high: 200},
	} {
		cfg := new(agentfile.Config)
		for i := range test.streams {
			s := agentfile.Stream{
				Packets:  test.packets,
				Interval: owamp.IntervalSeconds(test.interval),
				Timeout:  owamp.IntervalSeconds(2),
				Periodic: test.periodic,
			}
			s.Direction = agentfile.Receive
			if test.send {
				s.Direction = agentfile.Send
			}
			s.Peer = fmt.Sprintf("server%d.example.net", i%test.servers)
			cfg.Streams = append(cfg.Streams, s)
		}
		got := descriptors(cfg) - ownDescriptors - min(uint64(test.streams), sharedPorts)
		if got < test.low || got > test.high {
			t.Errorf("%+v: %d connections", test, got)
		}
	}
}
