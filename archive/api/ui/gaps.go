package ui

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"owl/archive/series"
)

// A gap is a time in which nothing was measured.
type gap struct {
	From   int64  `json:"from"`
	To     int64  `json:"to"`
	Reason string `json:"reason"` // why, in a word; empty: nobody knows
	Text   string `json:"text"`   // and in full
}

// A failure is what a measurement says of a time in which it has failed: that of a
// gap as Owl tells of it, or else of the second in which it has said so.
type failure struct {
	from, to int64 // to is endless of a gap that went on when it was told of
	at       int64 // when it was told of
	reason   string
	text     string
}

const (
	endless      = math.MaxInt64
	mostGaps     = 500  // that are told of
	mostFailures = 5000 // that are looked at
	mostText     = 500  // octets of why
)

// failures is the event type by which measurements tell that they have failed.
const failures series.EventType = "failures"

// failuresOf reads a value of the event type failures: an object whose member
// error says what has failed, and gaps, if Owl has written it, which times went
// without measurement and why.
func failuresOf(at int64, v series.Value) []failure {
	var f struct {
		Error any `json:"error"`
		Gaps  []struct {
			Reason  string    `json:"reason"`
			Start   time.Time `json:"start"`
			Seconds *float64  `json:"seconds"`
		} `json:"gaps"`
	}
	if err := json.Unmarshal(v.AppendJSON(nil), &f); err != nil {
		return []failure{{from: at, to: at, at: at, reason: "failed"}}
	}
	text, ok := f.Error.(string)
	if !ok && f.Error != nil {
		b, _ := json.Marshal(f.Error) // what was JSON is again
		text = string(b)
	}
	text = shortened(text, mostText)
	var all []failure
	for _, g := range f.Gaps {
		to := int64(endless)
		if g.Seconds != nil && *g.Seconds >= 0 && *g.Seconds < MaxSpan {
			to = int64(math.Ceil(float64(g.Start.UnixNano())/1e9 + *g.Seconds))
		}
		all = append(all, failure{from: g.Start.Unix(), to: to, at: at, reason: shortened(g.Reason, 64), text: text})
	}
	if all == nil {
		all = append(all, failure{from: at, to: at, at: at, reason: "failed", text: text})
	}
	return all
}

// shortened returns the beginning of a text, of so many octets.
func shortened(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + "…"
}

// within reports whether a failure is why there was nothing in a gap, before which
// the last value took a step.
func (f *failure) within(g *gap, step int64) bool {
	if f.to == endless || f.from == f.to {
		return f.at >= g.From-step && f.at <= g.To
	}
	return f.from < g.To && f.to > g.From
}

// gapsOf returns the gaps of a span between values at times, in order, each of
// which takes a step, and those shorter than that which were told of; and how many
// are left out, being shorter than all others. Nothing is missing after now.
func gapsOf(times []int64, step int64, s span, now int64, told []failure) (gaps []gap, omitted int) {
	end := min(s.To, now)
	covered := s.From // until when there are values
	slack := step / 2
	for i, t := range times {
		// What began before the span, and still went on when it began, is not
		// among the first.
		if missing := t - covered; missing > slack && (i > 0 || missing > step+slack) {
			gaps = append(gaps, gap{From: covered, To: t})
		}
		covered = max(covered, t+step)
	}
	// What is being measured is not missing: the last value comes when it is whole.
	if end-covered > step+slack+60 || len(times) == 0 && end > s.From {
		gaps = append(gaps, gap{From: covered, To: end})
	}
	used := make([]bool, len(told))
	for i := range gaps {
		g := &gaps[i]
		var reasons, texts []string
		for j := range told {
			if f := &told[j]; f.within(g, step) {
				used[j] = true
				reasons, texts = appendNew(reasons, f.reason), appendNew(texts, f.text)
			}
		}
		g.Reason, g.Text = strings.Join(reasons, ", "), strings.Join(texts, "\n")
	}
	for j, f := range told {
		if !used[j] && f.to != endless && f.to > f.from && f.to > s.From && f.from < end {
			gaps = append(gaps, gap{From: max(f.from, s.From), To: min(f.to, end), Reason: f.reason, Text: f.text})
			used[j] = true
		}
	}
	if omitted = max(0, len(gaps)-mostGaps); omitted > 0 {
		slices.SortStableFunc(gaps, func(a, b gap) int { return cmp.Compare(b.To-b.From, a.To-a.From) })
		gaps = gaps[:mostGaps]
	}
	slices.SortStableFunc(gaps, func(a, b gap) int { return cmp.Compare(a.From, b.From) })
	return gaps, omitted
}

// appendNew appends a text that is not there yet, unless there are many.
func appendNew(all []string, text string) []string {
	const most = 4
	if text == "" || len(all) == most || slices.Contains(all, text) {
		return all
	}
	return append(all, text)
}
