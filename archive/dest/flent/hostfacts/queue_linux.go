package hostfacts

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// parentRoot is the parent of a discipline that is an interface's own.
const parentRoot = netlink.HANDLE_ROOT

// A counted queue is one with what has gone through it.
type countedQueue struct {
	queue
	statistics string
}

// queues returns the queueing disciplines of an interface (RTM_GETQDISC), or the
// classes of them (RTM_GETTCLASS).
func queues(index int, kind uint16) ([]countedQueue, error) {
	messages, err := dump(int(kind), &nl.TcMsg{Ifindex: int32(index)})
	if err != nil {
		return nil, err
	}
	word := "qdisc"
	if kind == unix.RTM_GETTCLASS {
		word = "class"
	}
	var all []countedQueue
	for _, m := range messages {
		if len(m) >= nl.SizeofTcMsg && native32(m[4:]) == uint32(index) {
			all = append(all, readQueue(word, m))
		}
	}
	return all, nil
}

// splitQueues returns queues, and their statistics.
func splitQueues(all []countedQueue) (queues []queue, statistics []string) {
	for i := range all {
		queues = append(queues, all[i].queue)
		statistics = append(statistics, all[i].statistics)
	}
	return queues, statistics
}

// readQueue reads a message about a queue, which is at least as long as its
// beginning.
func readQueue(word string, b []byte) countedQueue {
	handle, parent, info := native32(b[8:]), native32(b[12:]), native32(b[16:])
	a := attributes(b[nl.SizeofTcMsg:])
	q := countedQueue{queue: queue{Name: strings.TrimRight(string(a[nl.TCA_KIND]), "\x00"), Params: make(map[string]string)}}
	q.ID, q.Parent = handleText(handle), handleText(parent)
	where := "parent " + q.Parent
	if parent == parentRoot {
		q.Parent, where = "root", "root"
	}
	var order []string
	put := func(name, value string) {
		q.Params[name] = value
		order = append(order, strings.TrimSpace(name+" "+value))
	}
	if word == "qdisc" && info > 1 {
		put("refcnt", strconv.Itoa(int(info)))
	}
	describe(q.Name, word, a[nl.TCA_OPTIONS], put)
	s := attributes(a[nl.TCA_STATS2])
	basic, more := s[nl.TCA_STATS_BASIC], s[nl.TCA_STATS_QUEUE]
	sent := uint32(0)
	if len(basic) >= 12 {
		sent = native32(basic[8:])
	}
	var counts [5]uint32
	for i := range counts {
		if len(more) >= 4*(i+1) {
			counts[i] = native32(more[4*i:])
		}
	}
	qlen, backlog, drops, requeues, overlimits := counts[0], counts[1], counts[2], counts[3], counts[4]
	q.statistics = fmt.Sprintf("%s %s %s %s %s\n Sent %d bytes %d pkt (dropped %d, overlimits %d requeues %d) \n backlog %db %dp requeues %d",
		word, q.Name, q.ID, where, strings.Join(order, " "), native64(basic), sent, drops, overlimits, requeues, backlog, qlen, requeues)
	return q
}

// handleText returns a handle as tc writes it.
func handleText(h uint32) string {
	if h&0xffff == 0 {
		return fmt.Sprintf("%x:", h>>16)
	}
	return fmt.Sprintf("%x:%x", h>>16, h&0xffff)
}

// A form says how tc writes a number.
type form uint8

const (
	plain   form = iota
	packets      // 10240p
	micros       // microseconds: 5ms
	octets       // 32Mb
	flag         // 1: the name alone
	rate         // octets a second: 10Mbit
)

// A param is one of a queueing discipline.
type param struct {
	attribute uint16
	name      string
	form      form
}

// params are those of the disciplines whose options are attributes with a number
// each, in the order in which tc writes them.
var params = map[string][]param{
	"fq_codel": {
		{2, "limit", packets}, {5, "flows", plain}, {6, "quantum", plain}, {1, "target", micros}, {7, "ce_threshold", micros},
		{3, "interval", micros}, {9, "memory_limit", octets}, {4, "ecn", flag}, {8, "drop_batch", plain},
	},
	"codel": {{2, "limit", packets}, {1, "target", micros}, {5, "ce_threshold", micros}, {3, "interval", micros}, {4, "ecn", flag}},
	"fq": {
		{1, "limit", packets}, {2, "flow_limit", packets}, {10, "orphan_mask", plain}, {3, "quantum", octets},
		{4, "initial_quantum", octets}, {11, "low_rate_threshold", rate}, {7, "maxrate", rate}, {9, "refill_delay", micros},
	},
	"pie": {{2, "limit", packets}, {1, "target", micros}, {3, "tupdate", micros}, {4, "alpha", plain}, {5, "beta", plain}, {6, "ecn", flag}, {7, "bytemode", flag}},
	"cake": {
		{2, "bandwidth", rate}, {3, "diffserv", plain}, {5, "flow_mode", plain}, {11, "nat", flag}, {13, "wash", flag}, {15, "ingress", flag},
		{16, "ack-filter", plain}, {17, "split-gso", flag}, {7, "rtt", micros}, {12, "raw", flag}, {6, "overhead", plain}, {14, "mpu", plain},
		{10, "memlimit", octets}, {18, "fwmark", plain},
	},
}

// describe tells the parameters of a discipline, or a class of one, as tc has
// them.
func describe(kind, word string, options []byte, put func(name, value string)) {
	if word == "class" {
		if kind == "htb" {
			describeHTBClass(options, put)
		}
		return
	}
	switch kind {
	case "pfifo_fast", "prio":
		if len(options) < 20 {
			return
		}
		put("bands", number(native32(options)))
		bands := make([]string, 16)
		for i := range bands {
			bands[i] = strconv.Itoa(int(options[4+i]))
		}
		put("priomap", strings.Join(bands, " "))
	case "pfifo", "pfifo_head_drop":
		put("limit", number(native32(options))+"p")
	case "bfifo":
		put("limit", number(native32(options))+"b")
	case "netem":
		describeNetem(options, put)
	case "tbf":
		describeTBF(options, put)
	case "htb":
		// struct tc_htb_glob: version, rate2quantum, defcls, debug, direct_pkts.
		if g := attributes(options)[2]; len(g) >= 20 {
			put("r2q", number(native32(g[4:])))
			put("default", fmt.Sprintf("0x%x", native32(g[8:])))
			put("direct_packets_stat", number(native32(g[16:])))
		}
	default:
		a := attributes(options)
		for _, p := range params[kind] {
			if b, ok := a[p.attribute]; ok {
				describeParam(p, b, put)
			}
		}
	}
}

func describeParam(p param, b []byte, put func(name, value string)) {
	v := uint64(native32(b))
	if len(b) >= 8 {
		v = native64(b)
	}
	switch p.form {
	case packets:
		put(p.name, strconv.FormatUint(v, 10)+"p")
	case micros:
		if v < 1<<31 { // none otherwise
			put(p.name, microsText(v))
		}
	case octets:
		put(p.name, octetsText(v))
	case rate:
		put(p.name, rateText(v))
	case flag:
		if v != 0 {
			put(p.name, "")
		}
	default:
		put(p.name, strconv.FormatUint(v, 10))
	}
}

// describeNetem reads a struct tc_netem_qopt: latency, limit, loss, gap,
// duplicate, jitter; and times in nanoseconds behind it.
func describeNetem(options []byte, put func(name, value string)) {
	const size, latency64, jitter64 = 24, 10, 11
	if len(options) < size {
		return
	}
	put("limit", number(native32(options[4:])))
	a := attributes(options[size:])
	if d := native64(a[latency64]); d > 0 {
		value := microsText(d / 1000)
		if j := native64(a[jitter64]); j > 0 {
			value += " " + microsText(j/1000)
		}
		put("delay", value)
	}
	for _, chance := range []struct {
		name string
		v    uint32
	}{{"loss", native32(options[8:])}, {"duplicate", native32(options[16:])}} {
		if chance.v > 0 {
			put(chance.name, strconv.FormatFloat(100*float64(chance.v)/(1<<32-1), 'g', 6, 64)+"%")
		}
	}
}

// describeTBF reads a struct tc_tbf_qopt, rate, peak rate, limit, buffer, mtu, and
// what is beside it. A rate is the last member of its struct tc_ratespec, behind 8
// octets.
func describeTBF(options []byte, put func(name, value string)) {
	const parms, rate64, burst = 1, 4, 6
	a := attributes(options)
	q := a[parms]
	if len(q) < nl.SizeofTcTbfQopt {
		return
	}
	put("rate", rateText(cmp.Or(native64(a[rate64]), uint64(native32(q[8:])))))
	if b := native32(a[burst]); b > 0 {
		put("burst", octetsText(uint64(b)))
	}
	put("limit", octetsText(uint64(native32(q[2*nl.SizeofTcRateSpec:]))))
}

// describeHTBClass reads a struct tc_htb_opt, rate, ceil, buffer, cbuffer,
// quantum, level, prio, and what is beside it.
func describeHTBClass(options []byte, put func(name, value string)) {
	const parms, rate64, ceil64 = 1, 6, 7
	a := attributes(options)
	q := a[parms]
	if len(q) < nl.SizeofTcHtbCopt {
		return
	}
	put("prio", number(native32(q[2*nl.SizeofTcRateSpec+16:])))
	put("rate", rateText(cmp.Or(native64(a[rate64]), uint64(native32(q[8:])))))
	put("ceil", rateText(cmp.Or(native64(a[ceil64]), uint64(native32(q[nl.SizeofTcRateSpec+8:])))))
}

func number(v uint32) string { return strconv.FormatUint(uint64(v), 10) }

// microsText returns microseconds as tc has them.
func microsText(us uint64) string {
	switch {
	case us >= 1e6:
		return strconv.FormatFloat(float64(us)/1e6, 'g', 3, 64) + "s"
	case us >= 1e3:
		return strconv.FormatFloat(float64(us)/1e3, 'g', 3, 64) + "ms"
	}
	return strconv.FormatUint(us, 10) + "us"
}

// octetsText returns a number of octets as tc has it.
func octetsText(n uint64) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return strconv.FormatUint(n>>20, 10) + "Mb"
	case n >= 1<<10 && n%(1<<10) == 0:
		return strconv.FormatUint(n>>10, 10) + "Kb"
	}
	return strconv.FormatUint(n, 10) + "b"
}

// rateText returns a rate of octets a second as tc has it.
func rateText(n uint64) string {
	bits := n * 8
	switch {
	case n == 0 || n >= 1<<32-1 && n <= 1<<32 || n == 1<<64-1:
		return "unlimited"
	case bits%1e9 == 0:
		return strconv.FormatUint(bits/1e9, 10) + "Gbit"
	case bits%1e6 == 0:
		return strconv.FormatUint(bits/1e6, 10) + "Mbit"
	case bits%1e3 == 0:
		return strconv.FormatUint(bits/1e3, 10) + "Kbit"
	}
	return strconv.FormatUint(bits, 10) + "bit"
}
