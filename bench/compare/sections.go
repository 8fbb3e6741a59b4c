package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A section measures one thing of both suites.
type section struct {
	name    string
	measure func(context.Context, *bench) ([]figure, error)
}

var sections = []section{
	{"delay", delays},
	{"packet", packetCosts},
	{"stream", streamCosts},
	{"owstats", readings},
	{"high", highRates},
}

func names() string {
	var all []string
	for _, s := range sections {
		all = append(all, s.name)
	}
	return strings.Join(all, ", ")
}

// ladder are the rates, in packets/s, at which delays are compared.
var ladder = []int{10, 100, 1_000, 10_000, 20_000, 50_000, 100_000}

// The most that Owl's delay is to be of the reference's.
var (
	medianGoals = map[int]float64{10: 0.1, 1_000: 0.25, 10_000: 0.25, 20_000: 0.25}
	leastGoal   = 0.4
)

// delays compares one-way delays over loopback, which are what the stamping of
// a suite adds to a network.
func delays(ctx context.Context, b *bench) ([]figure, error) {
	var all []figure
	for _, rate := range ladder {
		at := fmt.Sprintf("%d packets/s", rate)
		least, median := figure{Section: "delay", Name: at + ": least", Unit: "µs"}, figure{Section: "delay", Name: at + ": median", Unit: "µs"}
		p99, lost := figure{Section: "delay", Name: at + ": p99", Unit: "µs"}, figure{Section: "delay", Name: at + ": lost", Unit: "%"}
		least.rate, median.rate, p99.rate = rate, rate, rate
		median.most = medianGoals[rate]
		if median.most != 0 {
			least.most = leastGoal
		}
		err := b.turns(func(s suite, collect func(*figure, float64)) error {
			p, err := b.session(ctx, s, max(100, b.seconds*rate), float64(rate), nil)
			if err != nil {
				return err
			}
			collect(&least, float64(p.delays.Min())/1e3)
			collect(&median, float64(p.delays.Quantile(0.5))/1e3)
			collect(&p99, float64(p.delays.Quantile(0.99))/1e3)
			collect(&lost, 100*float64(p.lost)/float64(max(p.sent, 1)))
			return nil
		}, &least, &median, &p99, &lost)
		if err != nil {
			return nil, err
		}
		all = append(all, least, median, p99, lost)
	}
	return all, nil
}

// turns calls measure for one suite after the other, in rounds, and settles the
// figures that it collects.
func (b *bench) turns(measure func(s suite, collect func(*figure, float64)) error, figures ...*figure) error {
	for range b.rounds {
		for i, s := range b.suites() {
			err := measure(s, func(f *figure, v float64) { f.values[i] = append(f.values[i], v) })
			if err != nil {
				return err
			}
		}
	}
	for _, f := range figures {
		f.settle()
	}
	return nil
}

// session measures one session.
func (b *bench) session(ctx context.Context, s suite, count int, rate float64, options []string) (*packets, error) {
	v, err := b.serve(ctx, s)
	if err != nil {
		return nil, err
	}
	defer v.end()
	st, err := v.stream(ctx, count, rate, options...)
	if err != nil {
		return nil, err
	}
	defer st.end()
	name, err := st.session(ctx, time.Duration(float64(count)/rate*float64(time.Second)))
	if err != nil {
		return nil, err
	}
	return read(name)
}

// packetCosts compares what a packet costs at 10,000 packets/s, server and
// powstream together, with each pacing of Owl, and how punctual they are.
func packetCosts(ctx context.Context, b *bench) ([]figure, error) {
	const rate, length = 10_000, 10 * time.Second
	measure := func(s suite, options ...string) (cpu, slip50, slip99 float64, err error) {
		v, err := b.serve(ctx, s, options...)
		if err != nil {
			return 0, 0, 0, err
		}
		defer v.end()
		st, err := v.stream(ctx, rate*int(length/time.Second), rate, options...)
		if err != nil {
			return 0, 0, 0, err
		}
		defer st.end()
		// Sessions follow each other, so that from the end of one to the end of
		// the next the load is that of packets alone.
		if _, err := st.session(ctx, length); err != nil {
			return 0, 0, 0, err
		}
		before, err := usageOf(s.Dir)
		if err != nil {
			return 0, 0, 0, err
		}
		began := time.Now()
		name, err := st.session(ctx, length)
		if err != nil {
			return 0, 0, 0, err
		}
		after, err := usageOf(s.Dir)
		if err != nil {
			return 0, 0, 0, err
		}
		elapsed := time.Since(began)
		p, err := read(name)
		if err != nil {
			return 0, 0, 0, err
		}
		used := float64(after.cpu-before.cpu) / 1e3 / (rate * elapsed.Seconds())
		return used, float64(p.slips.Quantile(0.5)) / 1e3, float64(p.slips.Quantile(0.99)) / 1e3, nil
	}
	pacings := []struct {
		name       string
		most, slip float64 // 0: no aim
	}{{"normal", 1.1, 100}, {"economy", 0.65, 0}, {"precise", 0, 10}}
	figures := make([][3]figure, len(pacings))
	for range b.rounds {
		var cpu, slip50, slip99 float64
		var err error
		if b.reference != nil {
			if cpu, slip50, slip99, err = measure(*b.reference); err != nil {
				return nil, err
			}
		}
		for i, p := range pacings {
			f := &figures[i]
			var own [3]float64
			if own[0], own[1], own[2], err = measure(b.owl, "--pacing", p.name); err != nil {
				return nil, err
			}
			for j, v := range own {
				f[j].values[0] = append(f[j].values[0], v)
				if b.reference != nil {
					f[j].values[1] = append(f[j].values[1], [...]float64{cpu, slip50, slip99}[j])
				}
			}
		}
	}
	var all []figure
	for i, p := range pacings {
		f := &figures[i]
		f[0].Name, f[0].most = p.name+": processor time", p.most
		f[1].Name = p.name + ": slip, median"
		f[2].Name, f[2].Limit = p.name+": slip, p99", p.slip
		for j := range f {
			f[j].Section, f[j].Unit = "packet", "µs"
			f[j].settle()
			all = append(all, f[j])
		}
	}
	return all, nil
}

// streamCosts compares what a stream at powstream's own rate needs at both ends
// together: memory and processes. Owl is measured as a drop-in, a powstream for
// each stream, and as one owagent for all of them.
func streamCosts(ctx context.Context, b *bench) ([]figure, error) {
	const settled = 25 * time.Second // sessions overlap by then
	powstreams := func(s suite) (memory, processes float64, err error) {
		v, err := b.serve(ctx, s)
		if err != nil {
			return 0, 0, err
		}
		defer v.end()
		for range b.streams {
			st, err := v.stream(ctx, 300, 10)
			if err != nil {
				return 0, 0, err
			}
			defer st.end()
		}
		return b.perStream(ctx, s, settled)
	}
	agent := func() (memory, processes float64, err error) {
		v, err := b.serve(ctx, b.owl)
		if err != nil {
			return 0, 0, err
		}
		defer v.end()
		a, err := v.agent(ctx, b.streams)
		if err != nil {
			return 0, 0, err
		}
		defer end(a)
		return b.perStream(ctx, b.owl, settled)
	}
	var memory, processes, agentMemory, agentProcesses figure
	err := b.turns(func(s suite, collect func(*figure, float64)) error {
		m, p, err := powstreams(s)
		if err != nil {
			return err
		}
		collect(&memory, m)
		collect(&processes, p)
		if s == b.owl {
			if m, p, err = agent(); err != nil {
				return err
			}
		}
		collect(&agentMemory, m)
		collect(&agentProcesses, p)
		return nil
	}, &memory, &processes, &agentMemory, &agentProcesses)
	if err != nil {
		return nil, err
	}
	with := fmt.Sprintf("of %d: ", b.streams)
	memory.Name, memory.Unit = with+"memory, powstream", "KB"
	processes.Name = with + "processes, powstream"
	agentMemory.Name, agentMemory.Unit = with+"memory, owagent", "KB"
	agentProcesses.Name = with + "processes, owagent"
	all := []figure{memory, processes, agentMemory, agentProcesses}
	for i := range all {
		all[i].Section = "stream"
	}
	return all, nil
}

// perStream waits and returns what the programs of a suite use a stream, memory
// in kB.
func (b *bench) perStream(ctx context.Context, s suite, wait time.Duration) (memory, processes float64, err error) {
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	u, err := usageOf(s.Dir)
	return float64(u.memory) / 1000 / float64(b.streams), float64(u.processes) / float64(b.streams), err
}

// readings compares how fast owstats -M reads a file of 600,000 packets.
func readings(ctx context.Context, b *bench) ([]figure, error) {
	const records = 600_000
	var all []figure
	for _, k := range []fileKind{
		{rate: 1_000, timeout: 2},
		{rate: 1_000, timeout: 10},
		{rate: 10_000, timeout: 2},
		{rate: 10_000, timeout: 10},
	} {
		name := filepath.Join(b.scratch, "records.owp")
		if err := k.write(name, records); err != nil {
			return nil, err
		}
		f := figure{Section: "owstats", Name: fmt.Sprintf("%d packets/s, time-out %d s", k.rate, k.timeout), Unit: "million records/s", more: true}
		if b.reference != nil {
			f.least = 100
		}
		err := b.turns(func(s suite, collect func(*figure, float64)) error {
			took, err := s.owstats(ctx, name)
			collect(&f, records/1e6/took.Seconds())
			return err
		}, &f)
		if err := os.Remove(name); err != nil {
			return nil, err
		}
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}

// highRates measures what becomes of the packets of one stream at rates that the
// reference does not reach, for 10 s, and how fast a bare loop can send at all.
func highRates(ctx context.Context, b *bench) ([]figure, error) {
	const length = 10
	keys := filepath.Join(b.scratch, "keys.pfs")
	if err := os.WriteFile(keys, fmt.Appendf(nil, "%s\t%x\n", user, passphrase), 0o600); err != nil {
		return nil, err
	}
	bare := figure{Section: "high", Name: "a bare loop of sendto", Unit: "packets/s"}
	for range b.rounds {
		rate, err := bareRate(ctx)
		if err != nil {
			return nil, err
		}
		bare.values[0] = append(bare.values[0], rate)
	}
	bare.settle()
	all := []figure{bare}
	for _, c := range []struct {
		name    string
		rate    int
		options []string
	}{
		{"open mode", 100_000, nil},
		{"open mode", 200_000, nil},
		{"open mode", 400_000, nil},
		{"encrypted mode", 100_000, []string{"-A", "E", "-u", user, "-k", keys}},
		{"encrypted mode", 200_000, []string{"-A", "E", "-u", user, "-k", keys}},
	} {
		at := fmt.Sprintf("%s, %d packets/s: ", c.name, c.rate)
		aim := c.rate == 400_000 || c.options != nil && c.rate == 200_000
		lost := figure{Section: "high", Name: at + "lost", Unit: "packets", none: aim}
		unsent := figure{Section: "high", Name: at + "not sent", Unit: "packets", none: aim}
		median := figure{Section: "high", Name: at + "median delay", Unit: "µs"}
		for range b.rounds {
			p, err := b.session(ctx, b.owl, length*c.rate, float64(c.rate), c.options)
			if err != nil {
				return nil, err
			}
			lost.values[0] = append(lost.values[0], float64(p.lost))
			unsent.values[0] = append(unsent.values[0], float64(uint64(length*c.rate)-p.sent))
			median.values[0] = append(median.values[0], float64(p.delays.Quantile(0.5))/1e3)
		}
		for _, f := range []*figure{&lost, &unsent, &median} {
			f.settle()
			all = append(all, *f)
		}
	}
	return all, nil
}

// bareRate returns how many packets a second one thread can send over loopback
// that does nothing else, to a socket that nobody reads.
func bareRate(ctx context.Context) (float64, error) {
	to, err := new(net.ListenConfig).ListenPacket(ctx, "udp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer to.Close()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	addr := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: to.LocalAddr().(*net.UDPAddr).Port}
	packet := make([]byte, 48)
	const packets = 300_000
	began := time.Now()
	for range packets {
		if err := unix.Sendto(fd, packet, 0, addr); err != nil {
			return 0, err
		}
	}
	return packets / time.Since(began).Seconds(), nil
}
