package netlab

import (
	"math"
	"time"
)

// A Path says what becomes of the packets of one direction. The zero Path harms
// nothing.
//
// Loss, duplication and reordering strike UDP alone, so that a control
// connection stays whole and every struck packet is a test packet; what else
// there is concerns all packets. A fragment counts as a packet: one that is lost
// costs its datagram.
type Path struct {
	// Delay is the least time that a packet is under way. A packet may be
	// later, by what this process needs to wake up, never earlier.
	Delay time.Duration
	// Jitter is what chance adds to Delay; nil adds nothing.
	Jitter Jitter
	// Overtake lets a packet that jitter favours arrive before earlier ones.
	// Without it packets queue up behind a late one.
	Overtake bool
	// Hops is by how much TTL and hop limit are lowered. A packet that does not
	// survive that is lost, without a word to its sender.
	Hops uint8
	// DSCP is what the packets' becomes; nil leaves it.
	DSCP *uint8
	// Loss is the probability that a packet is lost, whatever becomes of others.
	Loss float64
	// Bursts are losses of several packets in a row.
	Bursts Bursts
	// Duplicate and Reorder are probabilities. A duplicate comes right after its
	// packet; a reordered packet right after the next Extent UDP packets of its
	// direction, or after 200 ms if there are none. While one waits, no other
	// is struck.
	Duplicate, Reorder float64
	// Extent is by how many packets a reordered one is overtaken; 0 stands for 1.
	Extent int
	// Down loses everything: a partition.
	Down bool
}

// Bursts are losses of several packets in a row: what Gilbert's model of a path
// with two states makes.
type Bursts struct {
	// Begin is the probability that a packet is the first of a burst.
	Begin float64
	// Mean is the mean length of a burst in packets, at least 1.
	Mean float64
}

// A Jitter says how long a packet is delayed by chance: at most Jitter(p) with
// probability p, which is at least 0 and below 1. In other words, it is the
// quantile function of a distribution.
type Jitter func(p float64) time.Duration

// Uniform spreads packets evenly between 0 and most.
func Uniform(most time.Duration) Jitter {
	return func(p float64) time.Duration { return time.Duration(p * float64(most)) }
}

// Exponential is how long a queue with random arrivals takes, in the mean.
func Exponential(mean time.Duration) Jitter {
	return func(p float64) time.Duration { return time.Duration(-math.Log1p(-p) * float64(mean)) }
}

// Normal has a mean and a standard deviation. What would be below 0 is 0.
func Normal(mean, deviation time.Duration) Jitter {
	return func(p float64) time.Duration {
		d := float64(mean) + math.Sqrt2*math.Erfinv(2*p-1)*float64(deviation)
		if !(d > 0) { // p of 0 is -Inf, or not a number for a deviation of 0
			return 0
		}
		return time.Duration(d)
	}
}

// A Step is a Path for a while. A script is a row of them.
type Step struct {
	// For is how long the path is as the step says. The last step of a script
	// stays, whatever its For.
	For  time.Duration
	Path Path
}
