// Package series is the vocabulary of a measurement archive with esmond's REST
// interface: event types and what values they have, the summaries of values over
// windows of time, and the metadata that say what was measured. It reads what
// clients write, keeps it in few octets, and writes it as clients read it. It has
// no files, no clock and no log.
//
// A [Value] is what was measured at one second: [Parse] reads it from a request,
// [Value.AppendBinary] and [Decode] are for a store, [Value.AppendJSON] is for an
// answer. A [Fold] is all values of one window added up, from which
// [Fold.AppendJSON] makes the window's aggregation, average and statistics.
// [ParseMetadata] reads a registration.
//
// # Numbers
//
// Whatever is added up is an integer: counts, numerators and denominators, and
// floating point values in units of 1/10000, which is how precise esmond keeps
// them. So a fold is the same in whatever order its values came, and a value can
// be taken out of it again. Sums have 128 bits and do not overflow; histograms
// refuse to have 2^63 counts or more.
//
// # Where esmond differs
//
// A floating point value is cut off behind the fourth decimal of what was sent;
// esmond multiplies in binary, by which 0.0001 is lost of some values. The
// aggregated histogram of a window has its labels in numeric order, so several
// modes are in that order, too; esmond's come as they arrived. Mean and variance
// are summed with less rounding than esmond's, and agree with them to ten digits
// or more. A histogram without counts is refused, as is null for a number; esmond
// fails on them.
package series

import "fmt"

// What a request may be at most. More is refused with an [InvalidError].
const (
	// MaxOctets is the length of one value's JSON.
	MaxOctets = 16 << 20
	// MaxDepth is how deep lists and objects of a request are nested.
	MaxDepth = 64
	// MaxBins is the number of labels in one histogram: more than 0.1 ms bins
	// over the six seconds that a packet is waited for, and few enough for any
	// number of requests to be read in small memory.
	MaxBins = 1 << 16
	// MaxWindowBins is the number of labels in the aggregated histogram of a
	// window: what may differ between the histograms in it.
	MaxWindowBins = 1 << 18
	// MaxTime is the last second of the year 9999, and −MaxTime the first
	// second that a value may have.
	MaxTime = 253402300799
	// MaxWindow is the longest window of a summary: a hundred years, in
	// seconds.
	MaxWindow = 100 * 365 * 86400
	// MaxName is the number of characters in a name, and in a field that
	// esmond bounds.
	MaxName = 128
	// MaxText is the number of octets in the value of a parameter.
	MaxText = 1 << 16
	// MaxParameters is the number of parameters of one measurement.
	MaxParameters = 256
	// MaxSummaries is the number of summaries of one event type.
	MaxSummaries = 64
)

// An InvalidError is why a request is refused: a status of 400, of which the
// text is the detail. It is esmond's text where esmond has one, so it begins with
// a capital letter there.
type InvalidError struct{ Detail string }

func (e *InvalidError) Error() string { return e.Detail }

// invalid returns an [InvalidError].
func invalid(format string, args ...any) error {
	return &InvalidError{Detail: fmt.Sprintf(format, args...)}
}
