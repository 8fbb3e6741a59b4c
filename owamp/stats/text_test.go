package stats

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/owamp"
)

// small is a session of 6 packets with something of everything, and its summary.
func small(t testing.TB) (*Session, []owamp.Record, *Summary) {
	t.Helper()
	s, times := newSession(t, 6)
	s.Spec.TypeP = owamp.TypePOf(46)
	s.Spec.Padding = 64
	recs := []owamp.Record{
		record(0, times[0], 0.0021),
		record(2, times[2], 0.0255), // bin 255 is listed after bin 256
		record(3, times[3], 0.02555),
		record(1, times[1], 0.05),
		record(1, times[1], 0.051),
		lostRecord(4, times[4]),
		record(5, times[5], -0.0042),
	}
	recs[1].TTL = 249
	sum, err := Summarize(s, yield(recs), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s, recs, sum
}

func TestAppendMachine(t *testing.T) {
	_, _, sum := small(t)
	const want = `SUMMARY	3.00
SID	01020304000000000000000000000009
FROM_HOST	a.example
FROM_ADDR	192.0.2.1
FROM_PORT	8761
TO_HOST	***
TO_ADDR	192.0.2.2
TO_PORT	8762
START_TIME	START
END_TIME	END
UNIX_START_TIME	UNIXSTART
UNIX_END_TIME	UNIXEND
DSCP	0x2e
LOSS_TIMEOUT	4294967296
PACKET_PADDING	64
SESSION_PACKET_COUNT	6
SAMPLE_PACKET_COUNT	6
BUCKET_WIDTH	0.0001
SESSION_FINISHED	1
SENT	6
SYNC	1
MAXERR	6.10352e-05
DUPS	1
LOST	1
MIN	-0.00419998
MEDIAN	0.0255
MAX	0.0509996
<BUCKETS>
	256	1
	21	1
	500	1
	255	1
	-42	1
</BUCKETS>
MINTTL	249
MAXTTL	250
<TTLBUCKETS>
	249	1
	250	4
</TTLBUCKETS>

<NREORDERING>
	1	1
	2	1
</NREORDERING>
`
	got := string(sum.AppendMachine([]byte("before\n"), Names{"a.example", "***"}, true))
	g := strings.NewReplacer(
		string(appendStamp(nil, sum.Start)), "START", string(appendStamp(nil, sum.End)), "END",
		string(appendF(nil, unixSeconds(sum.Start), 6)), "UNIXSTART", string(appendF(nil, unixSeconds(sum.End), 6)), "UNIXEND",
	).Replace(got)
	if d := cmp.Diff("before\n"+want, g); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	sum.Session.Spec.TypeP = 1
	if text := string(sum.AppendMachine(nil, Names{}, false)); strings.Contains(text, "DSCP") || strings.Contains(text, "UNIX") {
		t.Errorf("DSCP of a Type-P that is none, or times that were not asked for:\n%s", text)
	}
}

func TestAppendReport(t *testing.T) {
	_, _, sum := small(t)
	got := string(sum.AppendReport(nil, Names{"a.example", "***"}, ReportOptions{Percentiles: []float32{12.34, 99}, Zone: time.FixedZone("", 3600)}))
	const want = `
--- owping statistics from [a.example]:8761 to [***]:8762 ---
SID:	01020304000000000000000000000009
first:	2023-11-14T23:13:20.014
last:	2023-11-14T23:13:20.062
6 sent, 1 lost (16.667%), 1 duplicates
one-way delay min/median/max = -4.2/25.5/51 ms, (err=0.061 ms)
one-way jitter = nan ms (P95-P50)
Percentiles:
	12.3: -4.2 ms
	99.0: nan ms
hops takes 2 values; min hops = 5, max hops = 6
1-reordering = 16.666667%
2-reordering = 16.666667%
no 3-reordering

`
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestAppendClock(t *testing.T) {
	second := owamp.FromUnix(1_700_000_000, 0)
	for ns, want := range map[int64]string{
		0:           "2023-11-14T22:13:20.000",
		499_999:     "2023-11-14T22:13:20.000",
		1_600_000:   "2023-11-14T22:13:20.002",
		9_499_000:   "2023-11-14T22:13:20.009",
		9_501_000:   "2023-11-14T22:13:20.010",
		99_499_000:  "2023-11-14T22:13:20.099",
		99_501_000:  "2023-11-14T22:13:20.100",
		999_600_000: "2023-11-14T22:13:20.1000", // so does the reference
	} {
		if got := string(appendClock(nil, second.AddDuration(time.Duration(ns)), time.UTC)); got != want {
			t.Errorf("%d ns: %s, want %s", ns, got, want)
		}
	}
	after2036 := owamp.FromUnix(2_100_000_000, 0)
	if got := string(appendClock(nil, after2036, time.UTC)); got != "2036-07-18T13:20:00.000" {
		t.Errorf("after 2036: %s", got)
	}
}

func TestAppendVerbose(t *testing.T) {
	s, recs, _ := small(t)
	sent := s.Spec.Start
	unsynced := record(7, sent, 0.125)
	unsynced.SentErr = unsure
	large := record(4_000_000_000, sent, 0.125)
	for _, tt := range []struct {
		name string
		r    owamp.Record
		o    ReportOptions
		want string
	}{
		{"synced", record(12, sent, 0.125), ReportOptions{}, "seq_no=12         delay=125 ms\t(sync, err=0.061 ms)\n"},
		{"unsynced", unsynced, ReportOptions{Unit: Microseconds}, "seq_no=7          delay=1.25e+05 us\t(unsync)\n"},
		{"lost", recs[5], ReportOptions{Unix: true}, "seq_no=4          *LOST*\n"},
		{"seconds have no name", record(12, sent, 0.125), ReportOptions{Unit: Seconds}, "seq_no=12         delay=0.125 \t(sync, err=6.1e-05 )\n"},
		{"unix", record(12, sent, 0.125), ReportOptions{Unix: true}, "seq_no=12 delay=1.250000e+02 ms (sync, err=0.061 ms) sent=1700000000.000000 recv=1700000000.125000\n"},
		{"unix unsynced", unsynced, ReportOptions{Unix: true}, "seq_no=7          delay=125 ms\t(unsync)\n"},
		{"ten digits", large, ReportOptions{}, "seq_no=4000000000 delay=125 ms\t(sync, err=0.061 ms)\n"},
		{"unix prints a signed number", large, ReportOptions{Unix: true}, "seq_no=-294967296 delay=1.250000e+02 ms (sync, err=0.061 ms) sent=1700000000.000000 recv=1700000000.125000\n"},
	} {
		if got := string(AppendVerbose(nil, &tt.r, tt.o)); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestAppendRaw(t *testing.T) {
	r := owamp.Record{Seq: 7, Sent: 17198022186349679131, Recv: 17198022186360687132, SentErr: 0x8a80, RecvErr: 1, TTL: 250}
	if got, want := string(AppendRaw(nil, &r)), "7 17198022186349679131 1 3.05176e-05 17198022186360687132 0 2.32831e-10 250\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	l := owamp.Record{Seq: 8, Sent: 5, SentErr: 1, RecvErr: 0x3fff, TTL: 255}
	if got, want := string(AppendRaw(nil, &l)), "8 00000000000000000005 0 2.32831e-10 00000000000000000000 0 2.14748e+09 255\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestParseUnit(t *testing.T) {
	for s, want := range map[string]Unit{"n": Nanoseconds, "us": Microseconds, "M": Milliseconds, "seconds": Seconds} {
		if got, err := ParseUnit(s); got != want || err != nil {
			t.Errorf("%q: %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "x", "µs"} {
		if _, err := ParseUnit(s); err == nil || !strings.Contains(err.Error(), "want n, u, m or s") {
			t.Errorf("%q: error %v", s, err)
		}
	}
}

// The order of bins is that of the reference's table: by the sum of a bin's
// octets modulo its size, and of equals the one seen last first.
func TestBinOrder(t *testing.T) {
	s, times := newSession(t, 10)
	var recs []owamp.Record
	for i, bin := range []float64{1, 256, -1, 65536 / 4096, 2, 3, 257} {
		recs = append(recs, record(uint32(i), times[i], (bin-0.5*(1-2*float64(bit(bin < 0))))/4096))
	}
	sum, err := Summarize(s, yield(recs), Options{BucketWidth: 1.0 / 4096})
	if err != nil {
		t.Fatal(err)
	}
	var got []int32
	for _, b := range sum.listed() {
		got = append(got, b.bin)
	}
	if d := cmp.Diff([]int32{256, 1, 257, 2, 3, 16, -1}, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestHashSize(t *testing.T) {
	for _, tt := range []struct {
		timeout owamp.Interval
		width   float64
		want    int
	}{
		{owamp.IntervalSeconds(2), 0.0001, 1021},
		{1, 0.0001, 1021},
		{1, 0.001, 509},
		{1, 1.0 / 509, 509},
		{1, 1.0 / 508, 251},
		{0, 0.0001, 31},
		{66, 1, 31},
		{67, 1, 67},
	} {
		if got := hashSize(&owamp.SessionSpec{Timeout: tt.timeout}, tt.width); got != tt.want {
			t.Errorf("time-out %d and width %g: %d, want %d", tt.timeout, tt.width, got, tt.want)
		}
	}
}

func TestDepth(t *testing.T) {
	for _, tt := range []struct {
		slots   []owamp.Interval
		timeout owamp.Interval
		want    int64
	}{
		{[]owamp.Interval{owamp.IntervalSeconds(0.125)}, owamp.IntervalSeconds(2), 56},
		{[]owamp.Interval{owamp.IntervalSeconds(0.25), 0}, owamp.IntervalSeconds(2), 56},
		{[]owamp.Interval{owamp.IntervalSeconds(10)}, owamp.IntervalSeconds(2), 10},
		{[]owamp.Interval{0}, owamp.IntervalSeconds(2), 10},
		{[]owamp.Interval{1}, owamp.IntervalSeconds(1e6), 1<<31 - 1},
	} {
		var spec owamp.SessionSpec
		for _, p := range tt.slots {
			spec.Slots = append(spec.Slots, owamp.Slot{Parameter: p})
		}
		spec.Timeout = tt.timeout
		if got := depth(&spec); got != tt.want {
			t.Errorf("slots %v, time-out %d: %d, want %d", tt.slots, tt.timeout, got, tt.want)
		}
	}
}

func TestNothingReceived(t *testing.T) {
	s, times := newSession(t, 2)
	sum, err := Summarize(s, yield([]owamp.Record{lostRecord(0, times[0]), lostRecord(1, times[1])}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	text := string(sum.AppendMachine(nil, Names{}, false))
	if !strings.HasSuffix(text, "LOST\t2\nMINTTL\t255\nMAXTTL\t0\n\n<NREORDERING>\n\t1\t0\n</NREORDERING>\n") {
		t.Errorf("all lost:\n%s", text)
	}
	report := string(sum.AppendReport(nil, Names{}, ReportOptions{}))
	if !strings.Contains(report, "2 sent, 2 lost (100.000%), 0 duplicates\none-way delay min/median/max = nan/nan/nan ms, (err=0.0305 ms)\none-way jitter = nan ms (P95-P50)\nTTL not reported\nno reordering\n\n") {
		t.Errorf("all lost:\n%s", report)
	}
}

func BenchmarkAppendRaw(b *testing.B) {
	r := owamp.Record{Seq: 123456, Sent: 17198022186349679131, Recv: 17198022186360687132, SentErr: 0x8a80, RecvErr: 0x8a81, TTL: 250}
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendRaw(buf[:0], &r)
	}
}
