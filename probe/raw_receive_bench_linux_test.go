package probe

import (
	"testing"
	"time"

	"owl/owamp"
)

// BenchmarkReceiveRaw sends packets and reads them from the ring; read-ns/packet
// is the reading alone, to be compared with BenchmarkReceive, which reads packets
// that lie in a socket.
func BenchmarkReceiveRaw(b *testing.B) {
	needRaw(b)
	e := newEngine(b, Config{Gather: time.Hour, Capture: CaptureRaw})
	p := listen(b, e, loopback4)
	peer, from := raw(b, p)
	n := 0
	r := receive(b, p, from, 48, func(recs []owamp.Record) { n += len(recs) })
	datagram := packet(0, 48)
	b.ReportAllocs()
	const round = 1 << 14 // a sixth of what the ring has room for
	var reading time.Duration
	b.ResetTimer()
	for sent := 0; sent < b.N; sent += round {
		for range round {
			peer.Write(datagram)
		}
		time.Sleep(4 * ringRetire) // until the kernel has handed them over
		begin := time.Now()
		drain(b, r)
		reading += time.Since(begin)
	}
	b.StopTimer()
	if want, drops := (b.N+round-1)/round*round, int(r.Stats().Drops); n+drops != want {
		b.Fatalf("%d packets and %d drops, want %d in all", n, drops, want)
	}
	b.ReportMetric(float64(reading)/float64(n), "read-ns/packet")
}
