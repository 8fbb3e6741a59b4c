package probe

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"owl/owamp"
)

// cpuTime is what the process has used so far.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkReceive reads packets that lie in the socket.
func BenchmarkReceive(b *testing.B) {
	e := newEngine(b, Config{Gather: time.Hour})
	p := listen(b, e, loopback4)
	peer, from := raw(b, p)
	n := 0
	r := receive(b, p, from, 48, func(recs []owamp.Record) { n += len(recs) })
	datagram := packet(0, 48)
	b.ReportAllocs()
	const round = 1024
	b.ResetTimer()
	for sent := 0; sent < b.N; sent += round {
		b.StopTimer()
		for range round {
			peer.Write(datagram)
		}
		b.StartTimer()
		r.Drain()
	}
	b.StopTimer()
	if want := (b.N + round - 1) / round * round; n != want {
		b.Fatalf("%d packets, want %d", n, want)
	}
}

// BenchmarkSend sends flat out to a socket that nobody reads.
func BenchmarkSend(b *testing.B) {
	for _, tc := range []struct {
		how  Transmit
		dscp uint8
	}{{TransmitUDP, 0}, {TransmitUDP, 46}, {TransmitRaw, 0}, {TransmitRaw, 46}} {
		b.Run(fmt.Sprintf("%v, DSCP %d", tc.how, tc.dscp), func(b *testing.B) {
			if tc.how == TransmitRaw {
				mayTransmitRaw(b)
			}
			e := newEngine(b, Config{Transmit: tc.how})
			p := listen(b, e, loopback4)
			_, sink := raw(b, p)
			s := spec(b, e, sink, uint32(b.N), 0)
			s.Timeout = owamp.IntervalOf(time.Hour)
			s.Padding = 34
			s.DSCP = tc.dscp
			b.ReportAllocs()
			b.ResetTimer()
			_, done := start(b, p, s)
			<-done
		})
	}
}

// BenchmarkDepartures measures what asking when packets leave costs, and what the
// answers are, over loopback at a given rate.
func BenchmarkDepartures(b *testing.B) {
	for _, rate := range []int{1_000, 10_000} {
		for _, every := range []int{0, askEvery, 16, 1} {
			b.Run(fmt.Sprintf("%d packets a second, one of %d", rate, every), func(b *testing.B) {
				e := newEngine(b, Config{})
				if every == 0 {
					e.stamps.Departures.Err = errors.New("not wanted")
				} else {
					needReports(b, e)
				}
				e.lane.left.every = every
				from, to := listen(b, e, loopback4), listen(b, e, loopback4)
				delays := make([]time.Duration, 0, b.N)
				full := make(chan struct{})
				receive(b, to, from.Addr(), 48, func(recs []owamp.Record) {
					for i := range recs {
						delays = append(delays, recs[i].Recv.Sub(recs[i].Sent))
					}
					if len(delays) == b.N {
						close(full)
					}
				})
				s := spec(b, e, to.Addr(), uint32(b.N), time.Second/time.Duration(rate))
				s.Padding = 34
				cpu := cpuTime(b)
				b.ResetTimer()
				start(b, from, s)
				select {
				case <-full:
				case <-time.After(5 * time.Minute):
					b.Fatalf("%d packets, want %d", len(delays), b.N)
				}
				b.StopTimer()
				cpu = cpuTime(b) - cpu
				slices.Sort(delays)
				b.ReportMetric(float64(delays[len(delays)/2]), "p50-ns")
				b.ReportMetric(float64(delays[len(delays)*99/100]), "p99-ns")
				b.ReportMetric(float64(cpu.Nanoseconds())/float64(b.N), "cpu-ns/packet")
				if st := e.Transmit(); every > 0 {
					b.ReportMetric(float64(st.Gap.Quantile(0.5)), "gap-p50-ns")
					b.ReportMetric(float64(st.Gap.Quantile(0.99)), "gap-p99-ns")
					b.ReportMetric(float64(st.Missing), "missing")
				}
			})
		}
	}
}

// BenchmarkDelay measures the one-way delay over loopback, kernel's receive
// stamp less the sender's, at given rates and with many sessions.
func BenchmarkDelay(b *testing.B) {
	for _, tc := range []struct{ rate, sessions int }{
		{10, 1}, {1_000, 1}, {10_000, 1}, {10_000, 1_000}, {100_000, 1_000},
	} {
		b.Run(fmt.Sprintf("%d packets a second of %d sessions", tc.rate, tc.sessions), func(b *testing.B) {
			benchmarkDelay(b, Config{}, tc.rate, tc.sessions)
		})
	}
}

// BenchmarkCapture does so with either way to receive. What packets cost is that
// of both ends.
func BenchmarkCapture(b *testing.B) {
	needRaw(b)
	for _, rate := range []int{1_000, 10_000, 100_000, 200_000} {
		for _, how := range []Capture{CaptureUDP, CaptureRaw} {
			b.Run(fmt.Sprintf("%d packets a second, %v", rate, how), func(b *testing.B) {
				benchmarkDelay(b, Config{Capture: how, Pacing: PacingEconomy}, rate, 1)
			})
		}
	}
}

func benchmarkDelay(b *testing.B, cfg Config, rate, sessions int) {
	e := newEngine(b, cfg)
	to := listen(b, e, loopback4)
	each := uint32((b.N + sessions - 1) / sessions)
	delays := make([]time.Duration, 0, int(each)*sessions)
	batch := func(recs []owamp.Record) {
		for i := range recs {
			delays = append(delays, recs[i].Recv.Sub(recs[i].Sent))
		}
	}
	interval := time.Second * time.Duration(sessions) / time.Duration(rate)
	var sent sync.WaitGroup
	var sending []*Sending
	var receiving []*Receiving
	var specs []SendSpec
	var ports []*Port
	for i := range sessions {
		from := listen(b, e, loopback4)
		receiving = append(receiving, receive(b, to, from.Addr(), 48, batch))
		s := spec(b, e, to.Addr(), each, interval)
		s.Padding = 34
		s.Done = sent.Done
		sent.Add(1)
		s.Start = owamp.Timestamp(0).AddDuration(interval * time.Duration(i) / time.Duration(sessions))
		specs, ports = append(specs, s), append(ports, from)
	}
	begin := e.clock.Now().AddDuration(20 * time.Millisecond)
	cpu := cpuTime(b)
	b.ResetTimer()
	for i, s := range specs {
		s.Start += begin
		snd, err := ports[i].Send(s)
		if err != nil {
			b.Fatal(err)
		}
		sending = append(sending, snd)
	}
	sent.Wait()
	for _, r := range receiving {
		drain(b, r)
		r.Close()
	}
	b.StopTimer()
	cpu = cpuTime(b) - cpu
	var slip time.Duration
	for _, s := range sending {
		slip = max(slip, s.Progress().MaxSlip)
	}
	slices.Sort(delays)
	b.ReportMetric(float64(delays[len(delays)/2]), "p50-ns")
	b.ReportMetric(float64(delays[len(delays)*99/100]), "p99-ns")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(len(delays)), "cpu-ns/packet")
	b.ReportMetric(float64(slip), "max-slip-ns")
	b.ReportMetric(100-100*float64(len(delays))/float64(int(each)*sessions), "%lost")
}
