package stats

import (
	"math"
	"strconv"
	"time"

	"owl/owamp"
)

// This file is the JSON form of sessions, summaries and records. Its keys carry
// their units, and what is not known is null. docs/json.md says what each means.

// A SessionDocument is what a file says of a session.
type SessionDocument struct {
	SID            string         `json:"sid"`
	State          string         `json:"state"` // finished, incomplete or failed
	Sender         HostDocument   `json:"sender"`
	Receiver       HostDocument   `json:"receiver"`
	StartNTP       string         `json:"start_ntp"`
	StartTime      string         `json:"start_time"`
	Packets        uint32         `json:"scheduled_packets"`
	Slots          []SlotDocument `json:"slots"`
	TimeoutSeconds float64        `json:"loss_timeout_seconds"`
	PaddingOctets  uint32         `json:"padding_octets"`
	DSCP           *uint8         `json:"dscp"`
	NextPacket     *uint32        `json:"next_packet"`
	NotSent        []SkipDocument `json:"not_sent"`
}

// A HostDocument is one end of a session.
type HostDocument struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Port    uint16 `json:"port"`
}

// A SlotDocument is an entry of a session's schedule.
type SlotDocument struct {
	Distribution    string  `json:"distribution"` // exponential or fixed
	IntervalSeconds float64 `json:"mean_interval_seconds"`
}

// A SkipDocument is a range of packets that were never sent.
type SkipDocument struct {
	First uint32 `json:"first_packet"`
	Last  uint32 `json:"last_packet"`
}

// Document returns the session's JSON form. State is how it ended.
func (s *Session) Document(n Names, state string) *SessionDocument {
	spec := &s.Spec
	d := &SessionDocument{
		SID:            spec.SID.String(),
		State:          state,
		Sender:         HostDocument{n.From, spec.Sender.Addr().String(), spec.Sender.Port()},
		Receiver:       HostDocument{n.To, spec.Receiver.Addr().String(), spec.Receiver.Port()},
		StartNTP:       ntp(spec.Start),
		StartTime:      rfc3339(spec.Start),
		Packets:        spec.Packets,
		Slots:          make([]SlotDocument, len(spec.Slots)),
		TimeoutSeconds: spec.Timeout.Seconds(),
		PaddingOctets:  spec.Padding,
		NotSent:        make([]SkipDocument, len(s.Skips)),
	}
	if dscp, ok := spec.DSCP(); ok {
		d.DSCP = &dscp
	}
	if s.tells() {
		d.NextPacket = &s.NextSeq
	}
	for i, slot := range spec.Slots {
		d.Slots[i] = SlotDocument{"exponential", slot.Parameter.Seconds()}
		if slot.Type == owamp.SlotFixed {
			d.Slots[i].Distribution = "fixed"
		}
	}
	for i, skip := range s.Skips {
		d.NotSent[i] = SkipDocument(skip)
	}
	return d
}

// tells reports whether it is known how far the sender came.
func (s *Session) tells() bool { return s.Finished && s.NextSeq > 0 }

// notSent returns how many of the packets [first, last) the sender says it never
// sent.
func (s *Session) notSent(first, last uint32) uint64 {
	end := last
	if s.tells() {
		end = max(first, min(last, s.NextSeq))
	}
	n := uint64(last - end)
	for _, r := range merged(s.Skips) {
		if from, to := max(r.First, first), min(uint64(r.Last)+1, uint64(end)); uint64(from) < to {
			n += to - uint64(from)
		}
	}
	return n
}

// A SummaryDocument is the JSON form of a [Summary]. Received, Lost, NotSent and
// NotCovered add up to Packets.
type SummaryDocument struct {
	FirstPacket uint32 `json:"first_packet"`
	Packets     uint32 `json:"packets"`
	Received    uint32 `json:"received"`
	Lost        uint32 `json:"lost"`
	NotSent     uint64 `json:"not_sent"`
	NotCovered  uint64 `json:"not_covered"`
	Duplicates  uint32 `json:"duplicates"`

	StartNTP     string   `json:"start_ntp"`
	StartTime    string   `json:"start_time"`
	StartUnix    *float64 `json:"start_unix_seconds,omitempty"`
	EndNTP       string   `json:"end_ntp"`
	EndTime      string   `json:"end_time"`
	EndUnix      *float64 `json:"end_unix_seconds,omitempty"`
	EndEstimated bool     `json:"end_estimated"`

	Synchronized    *bool    `json:"synchronized"`
	MaxErrorSeconds *float64 `json:"max_error_seconds"`

	MinSeconds       *float64             `json:"delay_min_seconds"`
	MedianSeconds    *float64             `json:"delay_median_seconds"`
	MaxSeconds       *float64             `json:"delay_max_seconds"`
	VariationSeconds *float64             `json:"delay_p95_minus_p50_seconds"`
	Percentiles      []PercentileDocument `json:"delay_percentiles,omitempty"`
	WidthSeconds     float64              `json:"delay_bucket_width_seconds"`
	Buckets          []BucketDocument     `json:"delay_buckets"`

	MinHops *int          `json:"hops_min"`
	MaxHops *int          `json:"hops_max"`
	TTLs    []TTLDocument `json:"ttls"`

	Reordering      []ReorderingDocument `json:"n_reordering"`
	ReorderingDepth int64                `json:"n_reordering_depth"`

	RFC8912 RFC8912Document `json:"rfc8912"`
}

// A PercentileDocument is a delay that a share of the packets sent did not
// exceed.
type PercentileDocument struct {
	Percent float64  `json:"percent"`
	Seconds *float64 `json:"delay_seconds"`
}

// A BucketDocument is a bin of the histogram of delays.
type BucketDocument struct {
	Bucket  int32   `json:"bucket"`
	Seconds float64 `json:"farthest_delay_seconds"`
	Packets uint64  `json:"packets"`
}

// A TTLDocument counts packets that arrived with a TTL or hop limit.
type TTLDocument struct {
	TTL     int    `json:"ttl"`
	Hops    int    `json:"hops"`
	Packets uint64 `json:"packets"`
}

// A ReorderingDocument counts packets that are n-reordered.
type ReorderingDocument struct {
	N       int    `json:"n"`
	Packets uint32 `json:"packets"`
}

// An RFC8912Document has the metrics of RFC 8912 sections 5, 7 and 8: the parts
// of their names that say metric, unit and statistic are its keys.
type RFC8912Document struct {
	DelayMin    *float64 `json:"OWDelay_Seconds_Min"`
	DelayMax    *float64 `json:"OWDelay_Seconds_Max"`
	DelayMean   *float64 `json:"OWDelay_Seconds_Mean"`
	DelayStdDev *float64 `json:"OWDelay_Seconds_StdDev"`
	DelayP95    *float64 `json:"OWDelay_Seconds_95Percentile"`
	PDVP95      *float64 `json:"OWPDV_Seconds_95Percentile"`
	LossRatio   *float64 `json:"OWLoss_Percent_LossRatio"`
}

// Document returns the summary's JSON form. Of the options it heeds Percentiles
// and Unix.
func (s *Summary) Document(o ReportOptions) *SummaryDocument {
	total := uint64(s.Last - s.First)
	d := &SummaryDocument{
		FirstPacket:     s.First,
		Packets:         s.Last - s.First,
		Received:        s.Sent - s.Lost,
		Lost:            s.Lost,
		NotSent:         min(s.Session.notSent(s.First, s.Last), total-uint64(s.Sent)),
		Duplicates:      s.Duplicates,
		StartNTP:        ntp(s.Start),
		StartTime:       rfc3339(s.Start),
		EndNTP:          ntp(s.End),
		EndTime:         rfc3339(s.End),
		EndEstimated:    s.EndEstimated,
		MinSeconds:      known(s.Min, !math.IsNaN(s.Min)),
		MedianSeconds:   known(s.Percentile(0.5)),
		MaxSeconds:      known(s.Max, !math.IsNaN(s.Max)),
		WidthSeconds:    s.Delays.Width(),
		Buckets:         make([]BucketDocument, 0, s.Delays.Len()),
		TTLs:            []TTLDocument{},
		Reordering:      make([]ReorderingDocument, len(s.Reordering)),
		ReorderingDepth: s.depth,
		RFC8912:         s.rfc8912(),
	}
	d.NotCovered = total - uint64(s.Sent) - d.NotSent
	d.VariationSeconds = known(s.Variation())
	if s.Sent > 0 {
		d.Synchronized, d.MaxErrorSeconds = &s.Synced, &s.MaxError
	}
	if o.Unix {
		start, end := unixSeconds(s.Start), unixSeconds(s.End)
		d.StartUnix, d.EndUnix = &start, &end
	}
	for _, p := range o.Percentiles {
		d.Percentiles = append(d.Percentiles, PercentileDocument{decimal(p), known(s.Percentile(float64(p) / 100))})
	}
	for bin, n := range s.Delays.Bins() {
		d.Buckets = append(d.Buckets, BucketDocument{bin, s.Delays.Value(bin), n})
	}
	if n, least, most := s.ttlRange(); n > 0 {
		fewest, farthest := hops(most), hops(least)
		d.MinHops, d.MaxHops = &fewest, &farthest
	}
	for ttl, n := range s.TTL {
		if n > 0 {
			d.TTLs = append(d.TTLs, TTLDocument{ttl, hops(ttl), n})
		}
	}
	for i, n := range s.Reordering {
		d.Reordering[i] = ReorderingDocument{i + 1, n}
	}
	return d
}

func (s *Summary) rfc8912() (d RFC8912Document) {
	if s.Sent > 0 {
		d.LossRatio = known(100*float64(s.Lost)/float64(s.Sent), true)
	}
	f := &s.Finite
	some := f.Len() > 0
	d.DelayMin, d.DelayMax = known(f.Min(), some), known(f.Max(), some)
	d.DelayMean, d.DelayStdDev = known(f.Mean(), some), known(f.StdDev(), some)
	p95, ok := s.FinitePercentile(0.95)
	d.DelayP95 = known(p95, ok)
	// RFC 5481 section 4.2: delay less the least delay. The border of a bin may
	// be nearer to 0 than that is.
	d.PDVP95 = known(max(0, p95-f.Min()), ok)
	return d
}

// A PacketDocument is the JSON form of a record. In one of a lost packet SentNTP
// is when it was due.
type PacketDocument struct {
	Packet               uint32   `json:"packet"`
	State                string   `json:"state"` // received, duplicate or lost
	SentNTP              string   `json:"sent_ntp"`
	SentTime             string   `json:"sent_time"`
	SentUnix             *float64 `json:"sent_unix_seconds,omitempty"`
	SentErrorSeconds     *float64 `json:"sent_error_seconds"`
	SentSynchronized     *bool    `json:"sent_synchronized"`
	ReceivedNTP          *string  `json:"received_ntp"`
	ReceivedTime         *string  `json:"received_time"`
	ReceivedUnix         *float64 `json:"received_unix_seconds,omitempty"`
	ReceivedErrorSeconds float64  `json:"received_error_seconds"`
	ReceivedSynchronized bool     `json:"received_synchronized"`
	DelaySeconds         *float64 `json:"delay_seconds"`
	TTL                  *uint8   `json:"ttl"`
	Hops                 *int     `json:"hops"`
}

// PacketDocumentOf returns the JSON form of a record as [Options] Each has it.
// Of the options it heeds Unix.
func PacketDocumentOf(r *owamp.Record, o ReportOptions) *PacketDocument {
	d := &PacketDocument{
		Packet:               r.Seq,
		State:                "lost",
		SentNTP:              ntp(r.Sent),
		SentTime:             rfc3339(r.Sent),
		ReceivedErrorSeconds: errorSeconds(r.RecvErr),
		ReceivedSynchronized: r.RecvErr.Synchronized(),
	}
	if o.Unix {
		d.SentUnix = known(unixSeconds(r.Sent), true)
	}
	if r.Lost() {
		return d
	}
	d.State = "received"
	if r.Flags&owamp.FlagDuplicate != 0 {
		d.State = "duplicate"
	}
	received, at := ntp(r.Recv), rfc3339(r.Recv)
	sync, ttl, distance := r.SentErr.Synchronized(), r.TTL, hops(int(r.TTL))
	d.SentErrorSeconds = known(errorSeconds(r.SentErr), true)
	d.SentSynchronized = &sync
	d.ReceivedNTP, d.ReceivedTime = &received, &at
	if o.Unix {
		d.ReceivedUnix = known(unixSeconds(r.Recv), true)
	}
	d.DelaySeconds = known(delay(r), true)
	d.TTL, d.Hops = &ttl, &distance
	return d
}

// known returns v, or null if it is not ok.
func known(v float64, ok bool) *float64 {
	if !ok {
		return nil
	}
	return &v
}

// hops returns how many routers a packet has passed that arrives with a TTL.
func hops(ttl int) int { return 255 - ttl }

// decimal returns the number that p was on the command line, as far as single
// precision tells.
func decimal(p float32) float64 {
	v, _ := strconv.ParseFloat(strconv.FormatFloat(float64(p), 'g', -1, 32), 64)
	return v
}

// ntp returns t in units of 2^-32 s since 1900, a number that JSON's readers
// would round.
func ntp(t owamp.Timestamp) string { return string(appendStamp(nil, t)) }

func rfc3339(t owamp.Timestamp) string { return t.Time().Format(time.RFC3339Nano) }
