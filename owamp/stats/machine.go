package stats

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"owl/owamp"
)

// Names are the names of sender and receiver that texts show: from reverse DNS,
// or the numeric addresses.
type Names struct{ From, To string }

// AppendMachine appends the summary as the suite's .sum files have it, SUMMARY
// 3.00: lines of a key, a tab and a value, and three histograms. Times are NTP
// time stamps, with unix seconds since the Unix epoch too; delays are in
// seconds, bins in bucket widths, TTLs as received. The suite's have no CLOCK_STEP,
// which says by how many seconds a clock was set, where one was.
func (s *Summary) AppendMachine(b []byte, n Names, unix bool) []byte {
	spec := &s.Session.Spec
	text := func(key, value string) {
		b = append(b, key...)
		b = append(b, '\t')
		b = append(b, value...)
		b = append(b, '\n')
	}
	number := func(key string, value uint64) { text(key, strconv.FormatUint(value, 10)) }
	real := func(key string, value float64, ok bool) {
		if ok {
			text(key, string(appendG(nil, value, 6)))
		}
	}
	stamp := func(key string, t owamp.Timestamp) { text(key, string(appendStamp(nil, t))) }

	text("SUMMARY", "3.00")
	text("SID", spec.SID.String())
	text("FROM_HOST", n.From)
	text("FROM_ADDR", spec.Sender.Addr().String())
	number("FROM_PORT", uint64(spec.Sender.Port()))
	text("TO_HOST", n.To)
	text("TO_ADDR", spec.Receiver.Addr().String())
	number("TO_PORT", uint64(spec.Receiver.Port()))
	stamp("START_TIME", s.Start)
	stamp("END_TIME", s.End)
	if unix {
		text("UNIX_START_TIME", string(appendF(nil, unixSeconds(s.Start), 6)))
		text("UNIX_END_TIME", string(appendF(nil, unixSeconds(s.End), 6)))
	}
	if dscp, ok := spec.DSCP(); ok {
		text("DSCP", "0x"+string(appendHex(nil, dscp)))
	}
	number("LOSS_TIMEOUT", uint64(spec.Timeout))
	number("PACKET_PADDING", uint64(spec.Padding))
	number("SESSION_PACKET_COUNT", uint64(spec.Packets))
	number("SAMPLE_PACKET_COUNT", uint64(s.Last-s.First))
	real("BUCKET_WIDTH", s.Delays.Width(), true)
	number("SESSION_FINISHED", bit(s.Session.Finished))
	number("SENT", uint64(s.Sent))
	number("SYNC", bit(s.Synced))
	real("MAXERR", s.MaxError, true)
	if s.Session.ClockSteps != 0 {
		text("CLOCK_STEP", strconv.FormatFloat(s.Session.ClockStep.Seconds(), 'f', 9, 64))
	}
	number("DUPS", uint64(s.Duplicates))
	number("LOST", uint64(s.Lost))
	median, hasMedian := s.Percentile(0.5)
	pdv, hasPDV := s.Variation()
	real("MIN", s.Min, !math.IsNaN(s.Min))
	real("MEDIAN", median, hasMedian)
	real("MAX", s.Max, !math.IsNaN(s.Max))
	real("PDV", pdv, hasPDV)
	b = s.appendBuckets(b)
	b = s.appendTTL(b)
	b = append(b, '\n')
	return s.appendReordering(b)
}

func (s *Summary) appendBuckets(b []byte) []byte {
	if s.Sent <= s.Lost {
		return b
	}
	b = append(b, "<BUCKETS>\n"...)
	for _, l := range s.listed() {
		b = append(b, '\t')
		b = strconv.AppendInt(b, int64(l.bin), 10)
		b = append(b, '\t')
		b = strconv.AppendUint(b, l.count, 10)
		b = append(b, '\n')
	}
	return append(b, "</BUCKETS>\n"...)
}

type bucket struct {
	bin   int32
	count uint64
	place int
}

// listed returns the bins in the order in which the reference lists them, that
// of its hash table: by their place in it, and where several share one the one
// that was seen last comes first.
func (s *Summary) listed() []bucket {
	size := hashSize(&s.Session.Spec, s.Delays.Width())
	list := make([]bucket, 0, s.Delays.Len())
	for bin, count := range s.Delays.Seen() {
		list = append(list, bucket{bin, count, hash(bin, size)})
	}
	slices.Reverse(list)
	slices.SortStableFunc(list, func(a, b bucket) int { return cmp.Compare(a.place, b.place) })
	return list
}

// ttlRange returns how many TTLs were seen, modulo 256 as the reference counts
// them, and the least and greatest of them.
func (s *Summary) ttlRange() (n uint8, least, most int) {
	least = 255
	for ttl, count := range s.TTL {
		if count != 0 {
			n++
			least, most = min(least, ttl), ttl
		}
	}
	return n, least, most
}

func (s *Summary) appendTTL(b []byte) []byte {
	n, least, most := s.ttlRange()
	b = append(b, "MINTTL\t"...)
	b = strconv.AppendInt(b, int64(least), 10)
	b = append(b, "\nMAXTTL\t"...)
	b = strconv.AppendInt(b, int64(most), 10)
	b = append(b, '\n')
	if n == 0 {
		return b
	}
	b = append(b, "<TTLBUCKETS>\n"...)
	for ttl, count := range s.TTL {
		if count != 0 {
			b = append(b, '\t')
			b = strconv.AppendInt(b, int64(ttl), 10)
			b = append(b, '\t')
			b = strconv.AppendUint(b, count, 10)
			b = append(b, '\n')
		}
	}
	return append(b, "</TTLBUCKETS>\n"...)
}

// appendReordering lists the n-reordering, with a count of 0 where there is
// none at all or where it is not known how it goes on.
func (s *Summary) appendReordering(b []byte) []byte {
	b = append(b, "<NREORDERING>\n"...)
	line := func(n int, count uint32) {
		b = append(b, '\t')
		b = strconv.AppendInt(b, int64(n), 10)
		b = append(b, '\t')
		b = strconv.AppendUint(b, uint64(count), 10)
		b = append(b, '\n')
	}
	for i, count := range s.Reordering {
		line(i+1, count)
	}
	if n := len(s.Reordering); n == 0 || int64(n) >= s.depth {
		line(n+1, 0)
	}
	return append(b, "</NREORDERING>\n"...)
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func appendHex(b []byte, v uint8) []byte {
	const digits = "0123456789abcdef"
	return append(b, digits[v>>4], digits[v&15])
}
