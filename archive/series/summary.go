package series

import (
	"cmp"
	"fmt"
)

// A SummaryType is what is made of the values in a window of time.
type SummaryType uint8

// The types of summaries; but for Base they are in the order of their names.
const (
	Base        SummaryType = iota // the values themselves
	Aggregation                    // the sum; of a percentage the quotient of both sums
	Average                        // the mean of the values
	Statistics                     // [Stats] of the aggregated histogram
)

// summaryTypes has what each type is called in JSON and in a URL.
var summaryTypes = [...]struct{ name, path string }{
	Base:        {"base", "base"},
	Aggregation: {"aggregation", "aggregations"},
	Average:     {"average", "averages"},
	Statistics:  {"statistics", "statistics"},
}

// String returns the name in JSON, such as aggregation.
func (t SummaryType) String() string {
	if int(t) < len(summaryTypes) {
		return summaryTypes[t].name
	}
	return "unknown"
}

// Path returns the name in a URL, such as aggregations.
func (t SummaryType) Path() string {
	if int(t) < len(summaryTypes) {
		return summaryTypes[t].path
	}
	return "unknown"
}

// ParseSummaryType reads what [SummaryType.String] returns.
func ParseSummaryType(name string) (SummaryType, bool) {
	for t, s := range summaryTypes {
		if s.name == name {
			return SummaryType(t), true
		}
	}
	return 0, false
}

// ParseSummaryPath reads what [SummaryType.Path] returns.
func ParseSummaryPath(path string) (SummaryType, bool) {
	for t, s := range summaryTypes {
		if s.path == path {
			return SummaryType(t), true
		}
	}
	return 0, false
}

// Allows reports whether values of a kind have summaries of type t.
func (k Kind) Allows(t SummaryType) bool {
	switch t {
	case Base:
		return true
	case Aggregation:
		return k == Integer || k == Float || k == Percentage || k == Histogram
	case Average:
		return k == Integer || k == Float
	case Statistics:
		return k == Histogram
	}
	return false
}

// A Summary is a type of summary and its window in seconds. A window of 0 is a
// summary of each value for itself; that of Base is 0.
type Summary struct {
	Type   SummaryType
	Window int64
}

// String returns the summary as it is in a URL, behind the event type:
// aggregations/300, or base.
func (s Summary) String() string {
	if s.Type == Base {
		return s.Type.Path()
	}
	return fmt.Sprintf("%s/%d", s.Type.Path(), s.Window)
}

// Compare orders summaries by type and window.
func (s Summary) Compare(o Summary) int {
	return cmp.Or(cmp.Compare(s.Type, o.Type), cmp.Compare(s.Window, o.Window))
}

// WindowStart returns the start of the window in which the second at lies: the
// greatest multiple of window up to it, before 1970 too. Without a window it is
// the second itself.
func WindowStart(at, window int64) int64 {
	if window <= 0 {
		return at
	}
	rest := at % window
	if rest < 0 {
		rest += window
	}
	return at - rest
}
