package owp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"owl/owamp"
)

// golden returns the paths of all files of the reference.
func golden(tb testing.TB) []string {
	tb.Helper()
	var paths []string
	err := filepath.WalkDir("testdata", func(path string, d fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".owp" {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil || len(paths) < 40 {
		tb.Fatalf("%d files, %v", len(paths), err)
	}
	return paths
}

func octets(tb testing.TB, path string) []byte {
	tb.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func parse(b []byte) (*Reader, error) { return NewReader(bytes.NewReader(b), int64(len(b))) }

func mustParse(tb testing.TB, b []byte) *Reader {
	tb.Helper()
	r, err := parse(b)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func collect(tb testing.TB, seq iter.Seq2[owamp.Record, error]) []owamp.Record {
	tb.Helper()
	var recs []owamp.Record
	for r, err := range seq {
		if err != nil {
			tb.Fatal(err)
		}
		recs = append(recs, r)
	}
	return recs
}

func sid(s string) owamp.SID {
	id, err := owamp.ParseSID(s)
	if err != nil {
		panic(err)
	}
	return id
}

var compareAddr = cmpopts.EquateComparable(netip.AddrPort{})

func TestHeader(t *testing.T) {
	for _, tt := range []struct {
		path   string
		header Header
		skips  []owamp.SkipRange
	}{
		{
			path: "skips/c2s.owp", // the skip ranges before the records
			header: Header{
				Version: 3, Finished: Normal, NextSeq: 300, NumSkips: 2, NumRecords: 300,
				Spec: owamp.SessionSpec{
					ConfReceiver: true,
					Slots:        []owamp.Slot{{Type: owamp.SlotExponential, Parameter: 0x028f5c28}},
					Packets:      300,
					Sender:       netip.MustParseAddrPort("10.98.0.1:8950"),
					Receiver:     netip.MustParseAddrPort("10.98.0.2:18994"),
					SID:          sid("0a620002eeaba71c83cdbbe0f0b4cb57"),
					Start:        0xeeaba71d7aef0ae4,
					Timeout:      0x33333333,
				},
			},
			skips: []owamp.SkipRange{{First: 82, Last: 133}, {First: 217, Last: 243}},
		},
		{
			path: "skips/s2c.owp", // behind them
			header: Header{
				Version: 3, Finished: Normal, NextSeq: 300, NumSkips: 1, NumRecords: 300,
				Spec: owamp.SessionSpec{
					ConfSender: true,
					Slots:      []owamp.Slot{{Type: owamp.SlotExponential, Parameter: 0x028f5c28}},
					Packets:    300,
					Sender:     netip.MustParseAddrPort("10.98.0.2:18936"),
					Receiver:   netip.MustParseAddrPort("10.98.0.1:9414"),
					SID:        sid("0a620001eeaba71c84c532a4ab437da3"),
					Start:      0xeeaba71d7aef0ae4,
					Timeout:    0x33333333,
				},
			},
			skips: []owamp.SkipRange{{First: 75, Last: 124}},
		},
		{
			path: "ipv6-mixed/c2s.owp",
			header: Header{
				Version: 3, Finished: Normal, NextSeq: 60, NumRecords: 65,
				Spec: owamp.SessionSpec{
					ConfReceiver: true,
					Slots:        []owamp.Slot{{Type: owamp.SlotExponential, Parameter: 0x051eb851}},
					Packets:      60,
					Sender:       netip.MustParseAddrPort("[fd98::1]:9609"),
					Receiver:     netip.MustParseAddrPort("[fd98::2]:19296"),
					SID:          sid("00000002eeaba60793ba01eeff1dd0f4"),
					Padding:      40,
					Start:        0xeeaba6088b2ba9d2,
					Timeout:      2 << 32,
				},
			},
		},
		{
			// The server said Stop before the end, when it was shut down.
			path: "powstream-failures/b1/17198024794894600318_17198024856223983770.owp",
			header: Header{
				Version: 3, Finished: Normal, NextSeq: 189, NumRecords: 161,
				Spec: owamp.SessionSpec{
					ConfSender: true,
					Slots:      []owamp.Slot{{Type: owamp.SlotExponential, Parameter: 0x0ccccccc}},
					Packets:    300,
					Sender:     netip.MustParseAddrPort("10.98.0.2:40114"),
					Receiver:   netip.MustParseAddrPort("10.98.0.1:9188"),
					SID:        sid("0a620001eeaba864921101b01bafa3ba"),
					Start:      17198024794894600318,
					Timeout:    1 << 32,
				},
			},
		},
	} {
		r, err := Open(filepath.Join("testdata", tt.path))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&tt.header, r.Header(), compareAddr); diff != "" {
			t.Errorf("%s: header (-want +got):\n%s", tt.path, diff)
		}
		if diff := cmp.Diff(tt.skips, r.Skips()); diff != "" {
			t.Errorf("%s: skip ranges (-want +got):\n%s", tt.path, diff)
		}
		if r.Len() != int64(tt.header.NumRecords) {
			t.Errorf("%s: %d records, want %d", tt.path, r.Len(), tt.header.NumRecords)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		for _, err := range r.Records() {
			if !errors.Is(err, os.ErrClosed) {
				t.Errorf("%s: reading the closed file: %v", tt.path, err)
			}
		}
	}
}

// stamp is a time as the reference's owstats -R prints it.
func stamp(t owamp.Timestamp, e owamp.ErrorEstimate) string {
	sync := 0
	if e.Synchronized() {
		sync = 1
	}
	return fmt.Sprintf("%020d %d %.6g", uint64(t), sync, e.Seconds())
}

// TestRecords holds the records against what the reference's owstats -R prints
// of them.
func TestRecords(t *testing.T) {
	texts, err := filepath.Glob("testdata/*/*.R.txt")
	if err != nil || len(texts) != 10 {
		t.Fatal(texts, err)
	}
	for _, text := range texts {
		path := strings.TrimSuffix(text, ".R.txt") + ".owp"
		want := strings.Split(strings.TrimSuffix(string(octets(t, text)), "\n"), "\n")
		var got []string
		for _, r := range collect(t, mustParse(t, octets(t, path)).Records()) {
			got = append(got, fmt.Sprintf("%d %s %s %d", r.Seq, stamp(r.Sent, r.SentErr), stamp(r.Recv, r.RecvErr), r.TTL))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

func TestRecordsFrom(t *testing.T) {
	const n = 2*chunk + 7
	recs := randomRecords(n)
	r := mustParse(t, stored(t, recs, nil))
	for _, i := range []int64{-1, 0, 1, chunk - 1, chunk, n - 1, n, n + 1, math.MaxInt64} {
		got := collect(t, r.RecordsFrom(i))
		if diff := cmp.Diff(recs[min(max(i, 0), n):], got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("from %d (-want +got):\n%s", i, diff)
		}
	}
	// It may be left at any point, and begun anew.
	seq := r.RecordsFrom(chunk - 1)
	for range 2 {
		n := 0
		for rec, err := range seq {
			if err != nil || rec != recs[chunk-1+n] {
				t.Fatalf("record %d: %+v, %v", chunk-1+n, rec, err)
			}
			if n++; n == 3 {
				break
			}
		}
	}
}

// TestUnfinished reads a file while it grows: what is whole counts.
func TestUnfinished(t *testing.T) {
	whole := octets(t, "testdata/loss10/s2c.owp")
	want := collect(t, mustParse(t, whole).Records())
	clear(whole[offNextSeq:offDataOffset])
	for _, finished := range []Finished{Incomplete, Failed} {
		binary.BigEndian.PutUint32(whole[offFinished:], uint32(finished))
		for size := sizeOfHeader(1); size <= int64(len(whole)); size++ {
			r := mustParse(t, whole[:size])
			if got, want := r.Len(), (size-sizeOfHeader(1))/recordSize; got != want || r.Header().Finished != finished {
				t.Fatalf("%v, %d octets: %d records, want %d", r.Header().Finished, size, got, want)
			}
		}
	}
	r := mustParse(t, whole[:len(whole)-1])
	if diff := cmp.Diff(want[:len(want)-1], collect(t, r.Records())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// older returns a file of version 3 as versions 2 and 0 have it, and the records
// that are in it.
func older(tb testing.TB, b []byte) (v2, v0 []byte, recs []owamp.Record) {
	tb.Helper()
	var records []byte
	for rec, err := range mustParse(tb, b).Records() {
		if err != nil {
			tb.Fatal(err)
		}
		records = binary.BigEndian.AppendUint32(records, rec.Seq)
		records = binary.BigEndian.AppendUint64(records, uint64(rec.Sent))
		records = binary.BigEndian.AppendUint16(records, uint16(rec.SentErr))
		records = binary.BigEndian.AppendUint64(records, uint64(rec.Recv))
		records = binary.BigEndian.AppendUint16(records, uint16(rec.RecvErr))
		rec.TTL = 255
		recs = append(recs, rec)
	}
	head := slices.Concat([]byte("OwA\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\xa4"), b[offFinished:offNextSeq], b[offRequest:sizeOfHeader(1)])
	v2 = append(head, records...)
	v0 = append([]byte("OwA\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10"), records...)
	return v2, v0, recs
}

// TestOlder reads a file as versions 2 and 0 have it, also one that ends within
// a record: neither version says how many there are.
func TestOlder(t *testing.T) {
	b := octets(t, "testdata/mix-sync/s2c.owp")
	v2, v0, want := older(t, b)
	for _, tt := range []struct {
		file   []byte
		header Header
	}{
		{v2, Header{Version: 2, Finished: Normal, Spec: mustParse(t, b).Header().Spec}},
		{v0, Header{Version: 0, Finished: Incomplete}},
	} {
		got := mustParse(t, tt.file)
		if diff := cmp.Diff(&tt.header, got.Header(), compareAddr); diff != "" {
			t.Errorf("version %d: header (-want +got):\n%s", tt.header.Version, diff)
		}
		for cut := range 2 * recordSizeV2 {
			got := mustParse(t, tt.file[:len(tt.file)-cut])
			whole := len(want) - (cut+recordSizeV2-1)/recordSizeV2
			if diff := cmp.Diff(want[:whole], collect(t, got.Records())); diff != "" {
				t.Errorf("version %d, %d octets cut: records (-want +got):\n%s", tt.header.Version, cut, diff)
			}
		}
	}
}

func wantFormatError(t *testing.T, name string, err error, offset int64, what string) {
	t.Helper()
	if fe, ok := errors.AsType[*FormatError](err); !ok || fe.Offset != offset || fe.What != what {
		t.Errorf("%s: error %v, want octet %d: %s", name, err, offset, what)
	}
}

func TestDamaged(t *testing.T) {
	c2s := octets(t, "testdata/skips/c2s.owp")
	s2c := octets(t, "testdata/skips/s2c.owp")
	type change struct {
		at     int
		octets string
	}
	for _, tt := range []struct {
		name   string
		file   []byte
		size   int // cut to this, unless 0
		change []change
		offset int64
		what   string
	}{
		{"empty", nil, 0, nil, 0, "end of file within the header, want 16 octets"},
		{"only a begin", s2c, 15, nil, 15, "end of file within the header, want 16 octets"},
		{"header cut", s2c, 151, nil, 151, "end of file within the header, want 152 octets"},
		{"slots cut", s2c, 160, nil, 44, "1 slots, want at most 0"},
		{"records cut", s2c, 7683, nil, 20, "300 records, want at most the 299 that the file has room for"},
		{"skip ranges cut", s2c, 7691, nil, 16, "1 skip ranges, want at most 0"},
		{"skip ranges cut off", s2c, 7684 - 25, nil, 20, "300 records, want at most the 299 that the file has room for"},
		{"magic", s2c, 0, []change{{0, "OwB"}}, 0, `"OwB\x00", want "OwA\x00": not an .owp file`},
		{"version", s2c, 0, []change{{7, "\x04"}}, 4, "version 4, want 3, 2 or 0"},
		{"two-way", s2c, 0, []change{{7, "\x83"}}, 4, "version 0x83, the two-way records of TWAMP, want version 3, 2 or 0"},
		{"finished", s2c, 0, []change{{11, "\x03"}}, 8, "finished is 3, want 0, 1 or 2"},
		{"many skip ranges", c2s, 0, []change{{16, "\xff\xff\xff\xff"}}, 16, "4294967295 skip ranges, want at most 939"},
		{"many records", c2s, 0, []change{{20, "\xff\xff\xff\xff"}}, 20, "4294967295 records, want at most the 300 that the file has room for"},
		{"many records, unfinished", s2c, 0, []change{{11, "\x02"}, {20, "\x01"}}, 20, "16777516 records, want at most the 300 that the file has room for"},
		{"skip ranges in the header", c2s, 0, []change{{31, "\x10"}}, 24, "offset 16, want 168, the end of the header, to 7700, that of the file"},
		{"skip ranges beyond the end", c2s, 0, []change{{24, "\xff"}}, 24, "offset 18374686479671623864, want 168, the end of the header, to 7700, that of the file"},
		{"skip ranges among the records", c2s, 0, []change{{31, "\xc8"}}, 24, "2 skip ranges at 200, want them apart from the records at 200 to 7700"},
		{"a skip range reaches into the records", c2s, 0, []change{{31, "\xb9"}}, 24, "2 skip ranges at 185, want them apart from the records at 200 to 7700"},
		{"skip range", c2s, 0, []change{{199, "\x00"}}, 192, "skip range 217 to 0: want its end not before its begin"},
		{"records in the header", c2s, 0, []change{{39, "\xa7"}}, 32, "offset 167, want 168, the end of the header, to 7700, that of the file"},
		{"records beyond the end", c2s, 0, []change{{32, "\x80"}}, 32, "offset 9223372036854776008, want 168, the end of the header, to 7700, that of the file"},
		{"session", s2c, 0, []change{{40, "\x02"}}, 40, "session: first octet 2, want 1 for Request-Session"},
		{"many slots", s2c, 0, []change{{44, "\xff\xff\xff\xff"}}, 44, "4294967295 slots, want at most 471"},
		{"slot", s2c, 0, []change{{152, "\x02"}}, 152, "slot 0: slot type 2, want 0 or 1"},
		{"version 2, header cut", s2c, 131, []change{{7, "\x02"}}, 131, "end of file within the header, want 132 octets"},
	} {
		b := bytes.Clone(tt.file)
		if tt.size > 0 {
			b = b[:tt.size]
		}
		for _, c := range tt.change {
			copy(b[c.at:], c.octets)
		}
		_, err := parse(b)
		wantFormatError(t, tt.name, err, tt.offset, tt.what)
	}
}

func TestDamagedRecord(t *testing.T) {
	b := octets(t, "testdata/skips/s2c.owp")
	copy(b[184+4*25+4:], "\x80\x00") // the error estimate of when the fifth was sent
	n := 0
	for rec, err := range mustParse(t, b).Records() {
		if n++; n <= 4 {
			if err != nil || rec.Seq != uint32(n-1) {
				t.Errorf("record %d: %+v, %v", n, rec, err)
			}
			continue
		}
		wantFormatError(t, "record", err, 184+4*25, "record of packet 4 with the error estimates 0x8000 and 0x0001: want no multiplier of 0")
	}
	if n != 5 {
		t.Errorf("%d records and errors, want 5", n)
	}
}

// TestShrinks reads a file that was cut after its header was read.
func TestShrinks(t *testing.T) {
	b := octets(t, "testdata/skips/s2c.owp")
	r, err := NewReader(bytes.NewReader(b[:1000]), int64(len(b)))
	if r != nil || err == nil {
		t.Fatal("the skip ranges are not there")
	}
	b = octets(t, "testdata/loss10/s2c.owp")
	r, err = NewReader(bytes.NewReader(b[:1000]), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range r.Records() {
		n++
		wantFormatError(t, "records", err, 1000, "end of file, want 4184 octets more")
	}
	if n != 1 {
		t.Errorf("%d records and errors, want one error", n)
	}
}

func TestOpen(t *testing.T) {
	if _, err := Open(filepath.Join("testdata", "missing.owp")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	path := filepath.Join("testdata", "README.md")
	_, err := Open(path)
	wantFormatError(t, "README.md", err, 0, `"File", want "OwA\x00": not an .owp file`)
	if err == nil || !strings.HasPrefix(err.Error(), path+": octet 0: ") {
		t.Errorf("%v: want it to name the file", err)
	}
}

// FuzzReader holds that whatever a Reader takes can be written and read again,
// and that what it keeps in memory is bounded by the size of the file.
func FuzzReader(f *testing.F) {
	for _, path := range []string{"one-packet/c2s", "one-packet/s2c", "ipv6-mixed/s2c", "skips/c2s", "skips/s2c"} {
		b := octets(f, filepath.Join("testdata", path+".owp"))
		f.Add(b)
		b = bytes.Clone(b)
		b[offFinished+3] = byte(Incomplete)
		f.Add(b)
	}
	f.Add([]byte("OwA\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10" + strings.Repeat("\x01", 50)))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parse(b)
		if err != nil {
			if _, ok := errors.AsType[*FormatError](err); !ok {
				t.Fatalf("error %v is not a FormatError", err)
			}
			return
		}
		if held := len(r.Skips())*skipSize + len(r.Header().Spec.Slots)*owamp.SlotSize; held > len(b) {
			t.Fatalf("%d octets became %d", len(b), held)
		}
		var recs []owamp.Record
		for rec, err := range r.Records() {
			if err != nil {
				return
			}
			recs = append(recs, rec)
		}
		if int64(len(recs)) != r.Len() {
			t.Fatalf("%d records, but Len is %d", len(recs), r.Len())
		}
		h := *r.Header()
		if h.Version == 0 {
			return
		}
		h.NumRecords = uint32(len(recs))
		var again bytes.Buffer
		if err := Store(&again, &h, r.Skips(), all(recs)); err != nil {
			// It has two address families, which ParseRequest cannot know.
			if !strings.Contains(err.Error(), "one family") {
				t.Fatal(err)
			}
			return
		}
		r2 := mustParse(t, again.Bytes())
		h.Version = 3
		for _, a := range []*netip.AddrPort{&h.Spec.Sender, &h.Spec.Receiver} {
			*a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		}
		if diff := cmp.Diff(&h, r2.Header(), compareAddr); diff != "" {
			t.Errorf("header (-first +again):\n%s", diff)
		}
		if diff := cmp.Diff(r.Skips(), r2.Skips()); diff != "" {
			t.Errorf("skip ranges (-first +again):\n%s", diff)
		}
		if diff := cmp.Diff(recs, collect(t, r2.Records())); diff != "" {
			t.Errorf("records (-first +again):\n%s", diff)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	const n = 1 << 20
	path := filepath.Join(b.TempDir(), "session.owp")
	if err := os.WriteFile(path, stored(b, randomRecords(n), nil), 0o600); err != nil {
		b.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	b.ReportAllocs()
	for b.Loop() {
		var sum uint32
		for rec, err := range r.Records() {
			if err != nil {
				b.Fatal(err)
			}
			sum += rec.Seq
		}
		if sum == 0 {
			b.Fatal("no records")
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
