// Package host watches what the kernel says of this host: packets that it
// dropped before any program saw them, and whether programs got processors when
// they wanted some. A [Monitor] remembers the last minutes, for a packet is
// declared lost only a time-out after it was due, and then it is asked what this
// host did at that time.
//
// Nothing here proves that a test packet was lost in this host. It is evidence:
// without any, the loss was somewhere else.
//
// Containers and other systems lack some of it, or all. What is not there is not
// known, and no error.
package host

import (
	"iter"
	"time"

	"owl/owamp"
)

// A Counter is something that the kernel counts since the host's start.
type Counter uint8

const (
	// SoftnetDropped are packets for which the kernel's backlog had no room.
	SoftnetDropped Counter = iota
	// SoftnetSqueezed is how often the kernel broke off receiving, its time or
	// budget being used up, with packets still waiting.
	SoftnetSqueezed
	// DeviceOverruns are packets for which the test interfaces had no buffer. A
	// driver may count one in more than one way.
	DeviceOverruns
	// DeviceDropped are packets that the test interfaces received and the
	// kernel threw away: for want of memory, or because nobody here speaks their
	// protocol.
	DeviceDropped
	// DeviceUnsent are packets that the test interfaces, or their queues, were to
	// send and did not.
	DeviceUnsent
	// UDPOverflows are UDP packets for which a socket, of any program, had no
	// room.
	UDPOverflows
	// UDPErrors are UDP packets that were dropped for any reason, the overflows
	// and wrong checksums among them.
	UDPErrors
	// CPUWaiting is the time in ns in which a task had to wait for a processor.
	CPUWaiting
	// CPUStolen is the processor time in ns that this virtual machine wanted and
	// did not get, over all processors.
	CPUStolen
	// CPUTime is the processor time in ns that has passed, idle or not, over all
	// processors.
	CPUTime

	counters = iota
)

// Counters yields every Counter.
func Counters() iter.Seq[Counter] {
	return func(yield func(Counter) bool) {
		for c := range Counter(counters) {
			if !yield(c) {
				return
			}
		}
	}
}

// A Sample is what the kernel said at one moment.
type Sample struct {
	At     owamp.Timestamp
	values [counters]uint64
	known  uint16 // a bit for each value
	load   float64
	loaded bool // load is known
}

// Get returns the value of a counter, and whether it is known.
func (s *Sample) Get(c Counter) (v uint64, known bool) {
	return s.values[c], s.known&(1<<c) != 0
}

// Load returns how many tasks wanted a processor, on the average of the last
// minute, and whether that is known.
func (s *Sample) Load() (load float64, known bool) { return s.load, s.loaded }

// Set notes the value of a counter, which is known then.
func (s *Sample) Set(c Counter, v uint64) {
	s.values[c] = v
	s.known |= 1 << c
}

// add adds to the value of a counter.
func (s *Sample) add(c Counter, v uint64) { s.Set(c, s.values[c]+v) }

// SetLoad notes the load, which is known then.
func (s *Sample) SetLoad(load float64) { s.load, s.loaded = load, true }

// since returns by how much a counter has grown since the sample before. One
// that starts again has not.
func (s *Sample) since(before *Sample, c Counter) uint64 {
	now, known := s.Get(c)
	then, knew := before.Get(c)
	if !known || !knew || now < then {
		return 0
	}
	return now - then
}

// An Activity is what this host did in some time.
type Activity struct {
	// Known says that samples cover that time; else all is zero.
	Known bool
	// How much each of these grew; see their [Counter].
	SoftnetDropped, SoftnetSqueezed uint64
	DeviceOverruns, DeviceDropped   uint64
	DeviceUnsent                    uint64
	UDPOverflows, UDPErrors         uint64
	// Pressure is the part of the time, from 0 to 1, in which a task waited for
	// a processor, Stolen the part of the processor time that went to other
	// machines: each in the worst second.
	Pressure, Stolen float64
	// Load is how many tasks wanted a processor, on the average of the minute.
	Load float64
}

// Thresholds: from so much on an activity may have cost packets. A network
// interface drops now and then what nobody has asked for, every host has tasks
// that wait for a processor, and neither loses anything by itself.
const (
	ManyDropped  = 10   // DeviceDropped
	ManySqueezed = 10   // SoftnetSqueezed
	HighPressure = 0.5  // Pressure
	HighStolen   = 0.05 // Stolen
)

// CostsArrivals reports whether the activity may have cost packets that came to
// this host.
func (a *Activity) CostsArrivals() bool {
	return a.SoftnetDropped > 0 || a.DeviceOverruns > 0 || a.DeviceDropped >= ManyDropped ||
		a.SoftnetSqueezed >= ManySqueezed || a.Pressure >= HighPressure || a.Stolen >= HighStolen
}

// CostsDepartures reports whether the activity may have cost packets that this
// host has sent.
func (a *Activity) CostsDepartures() bool { return a.DeviceUnsent > 0 }

// Add adds what happened in another time.
func (a *Activity) Add(o Activity) {
	a.Known = a.Known || o.Known
	a.SoftnetDropped += o.SoftnetDropped
	a.SoftnetSqueezed += o.SoftnetSqueezed
	a.DeviceOverruns += o.DeviceOverruns
	a.DeviceDropped += o.DeviceDropped
	a.DeviceUnsent += o.DeviceUnsent
	a.UDPOverflows += o.UDPOverflows
	a.UDPErrors += o.UDPErrors
	a.Pressure = max(a.Pressure, o.Pressure)
	a.Stolen = max(a.Stolen, o.Stolen)
	a.Load = max(a.Load, o.Load)
}

// activity adds up what happened between the first and the last of samples.
func activity(samples iter.Seq[*Sample]) Activity {
	var a Activity
	var before *Sample
	for s := range samples {
		if before != nil {
			a.Add(between(before, s))
		}
		before = s
	}
	return a
}

// between returns what happened between two samples.
func between(before, s *Sample) Activity {
	a := Activity{
		Known:           before.known&s.known != 0,
		SoftnetDropped:  s.since(before, SoftnetDropped),
		SoftnetSqueezed: s.since(before, SoftnetSqueezed),
		DeviceOverruns:  s.since(before, DeviceOverruns),
		DeviceDropped:   s.since(before, DeviceDropped),
		DeviceUnsent:    s.since(before, DeviceUnsent),
		UDPOverflows:    s.since(before, UDPOverflows),
		UDPErrors:       s.since(before, UDPErrors),
		Load:            s.load,
	}
	if passed := s.At.Sub(before.At); passed >= worthwhile {
		a.Pressure = min(float64(s.since(before, CPUWaiting))/float64(passed), 1)
	}
	if all := s.since(before, CPUTime); all >= uint64(worthwhile) {
		a.Stolen = min(float64(s.since(before, CPUStolen))/float64(all), 1)
	}
	return a
}

// worthwhile is the shortest time of which a part says something: the kernel
// counts processor time in steps of 10 ms.
const worthwhile = 200 * time.Millisecond
