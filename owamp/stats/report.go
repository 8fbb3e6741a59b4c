package stats

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"owl/owamp"
)

// A Unit is what a report shows delays in.
type Unit struct {
	name  string
	scale float64 // units in a second
}

// The units of the -n option. As in the reference, seconds have no name.
var (
	Nanoseconds  = Unit{"ns", 1e9}
	Microseconds = Unit{"us", 1e6}
	Milliseconds = Unit{"ms", 1e3}
	Seconds      = Unit{"", 1}
)

// ParseUnit reads a unit by its first letter, in either case: n, u, m or s.
func ParseUnit(s string) (Unit, error) {
	switch strings.ToLower(s[:min(len(s), 1)]) {
	case "n":
		return Nanoseconds, nil
	case "u":
		return Microseconds, nil
	case "m":
		return Milliseconds, nil
	case "s":
		return Seconds, nil
	}
	return Unit{}, fmt.Errorf("unit %q: want n, u, m or s", s)
}

// ReportOptions say what a report looks like.
type ReportOptions struct {
	Unit        Unit           // the zero Unit is Milliseconds
	Percentiles []float32      // in addition to the median, in percent
	Zone        *time.Location // of times; nil: UTC
	Unix        bool           // in records: times too, in seconds since the Unix epoch, where clocks are synchronized
}

func (o *ReportOptions) unit() Unit {
	if o.Unit.scale == 0 {
		return Milliseconds
	}
	return o.Unit
}

// AppendHeader appends the lines that stand above a report, and above the
// records of a session.
func (s *Session) AppendHeader(b []byte, n Names) []byte {
	return fmt.Appendf(b, "\n--- owping statistics from [%s]:%d to [%s]:%d ---\nSID:\t%v\n",
		n.From, s.Spec.Sender.Port(), n.To, s.Spec.Receiver.Port(), s.Spec.SID)
}

// AppendReport appends the summary as a report for people.
func (s *Summary) AppendReport(b []byte, n Names, o ReportOptions) []byte {
	zone := o.Zone
	if zone == nil {
		zone = time.UTC
	}
	u := o.unit()
	scaled := func(v float64, ok bool) string {
		if !ok {
			return "nan"
		}
		return string(appendG(nil, v*u.scale, 3))
	}
	b = s.Session.AppendHeader(b, n)
	b = appendClock(append(b, "first:\t"...), s.Start, zone)
	b = appendClock(append(b, "\nlast:\t"...), s.End, zone)
	var loss float64
	if s.Sent > 0 {
		loss = float64(s.Lost) / float64(s.Sent)
	}
	b = fmt.Appendf(b, "\n%d sent, %d lost (%.3f%%), %d duplicates\n", s.Sent, s.Lost, 100*loss, s.Duplicates)
	b = fmt.Appendf(b, "one-way delay min/median/max = %s/%s/%s %s, ",
		scaled(s.Min, !math.IsNaN(s.Min)), scaled(s.Percentile(0.5)), scaled(s.Max, !math.IsNaN(s.Max)), u.name)
	if s.Synced {
		b = fmt.Appendf(b, "(err=%s %s)\n", scaled(s.MaxError, true), u.name)
	} else {
		b = append(b, "(unsync)\n"...)
	}
	b = fmt.Appendf(b, "one-way jitter = %s %s (P95-P50)\n", scaled(s.Variation()), u.name)
	if len(o.Percentiles) > 0 {
		b = append(b, "Percentiles:\n"...)
	}
	for _, p := range o.Percentiles {
		b = fmt.Appendf(b, "\t%.1f: %s %s\n", float64(p), scaled(s.Percentile(float64(p)/100)), u.name)
	}
	switch n, least, most := s.ttlRange(); n {
	case 0:
		b = append(b, "TTL not reported\n"...)
	case 1:
		b = fmt.Appendf(b, "hops = %d (consistently)\n", 255-least)
	default:
		b = fmt.Appendf(b, "hops takes %d values; min hops = %d, max hops = %d\n", n, 255-most, 255-least)
	}
	for i, count := range s.Reordering {
		b = fmt.Appendf(b, "%d-reordering = %f%%\n", i+1, 100*float64(count)/float64(s.received))
	}
	switch n := len(s.Reordering); {
	case n == 0:
		b = append(b, "no reordering\n"...)
	case int64(n) < s.depth:
		b = fmt.Appendf(b, "no %d-reordering\n", n+1)
	default:
		b = fmt.Appendf(b, "%d-reordering not handled\n", s.depth+1)
	}
	return append(b, '\n')
}

// AppendVerbose appends a line that tells people of one record.
func AppendVerbose(b []byte, r *owamp.Record, o ReportOptions) []byte {
	b = append(b, "seq_no="...)
	synced := r.SentErr.Synchronized() && r.RecvErr.Synchronized()
	unix := o.Unix && synced && !r.Lost()
	start := len(b)
	if unix {
		// The reference prints it as a signed number here, and only here.
		b = strconv.AppendInt(b, int64(int32(r.Seq)), 10)
	} else {
		b = strconv.AppendUint(b, uint64(r.Seq), 10)
		for len(b)-start < 10 {
			b = append(b, ' ')
		}
	}
	if r.Lost() {
		return append(b, " *LOST*\n"...)
	}
	u := o.unit()
	b = append(b, " delay="...)
	if unix {
		b = strconv.AppendFloat(b, delay(r)*u.scale, 'e', 6, 64)
	} else {
		b = appendG(b, delay(r)*u.scale, 3)
	}
	b = append(append(b, ' '), u.name...)
	b = append(b, " \t"[bit(!unix)])
	if !synced {
		return append(b, "(unsync)\n"...)
	}
	b = append(b, "(sync, err="...)
	b = appendG(b, (errorSeconds(r.SentErr)+errorSeconds(r.RecvErr))*u.scale, 3)
	b = append(append(b, ' '), u.name...)
	b = append(b, ')')
	if unix {
		b = appendF(append(b, " sent="...), unixSeconds(r.Sent), 6)
		b = appendF(append(b, " recv="...), unixSeconds(r.Recv), 6)
	}
	return append(b, '\n')
}

// AppendRaw appends a record as programs read it: sequence number, send time as
// an NTP time stamp, whether the sender's clock was synchronized, its error in
// seconds, the same three of the receiver, and TTL. A lost packet's receive time
// is 0.
func AppendRaw(b []byte, r *owamp.Record) []byte {
	b = strconv.AppendUint(b, uint64(r.Seq), 10)
	b = appendStamped(append(b, ' '), r.Sent, r.SentErr)
	b = appendStamped(append(b, ' '), r.Recv, r.RecvErr)
	b = strconv.AppendUint(append(b, ' '), uint64(r.TTL), 10)
	return append(b, '\n')
}

func appendStamped(b []byte, t owamp.Timestamp, e owamp.ErrorEstimate) []byte {
	b = append(appendStamp(b, t), ' ', '0'+byte(bit(e.Synchronized())), ' ')
	return appendG(b, errorSeconds(e), 6)
}
