package owp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"owl/owamp"
	"owl/owamp/schedule"
)

func salvage(b []byte) (*Reader, *Damage, error) {
	return NewSalvager(bytes.NewReader(b), int64(len(b)))
}

func mustSalvage(tb testing.TB, b []byte) (*Reader, *Damage) {
	tb.Helper()
	r, d, err := salvage(b)
	if err != nil {
		tb.Fatal(err)
	}
	return r, d
}

// What is not damaged is read as by any Reader, records of all files of the
// reference among it.
func TestSalvageUndamaged(t *testing.T) {
	files := make(map[string][]byte)
	for _, path := range golden(t) {
		files[path] = octets(t, path)
	}
	files["version 2"], files["version 0"], _ = older(t, octets(t, "testdata/mix-sync/s2c.owp"))
	for path, b := range files {
		want := mustParse(t, b)
		got, damage := mustSalvage(t, b)
		if !damage.None() {
			t.Errorf("%s: damage %v", path, damage.Places)
		}
		if diff := cmp.Diff(want.Header(), got.Header(), compareAddr); diff != "" {
			t.Errorf("%s: header (-want +got):\n%s", path, diff)
		}
		if diff := cmp.Diff(want.Skips(), got.Skips()); diff != "" {
			t.Errorf("%s: skip ranges (-want +got):\n%s", path, diff)
		}
		if diff := cmp.Diff(collect(t, want.Records()), collect(t, got.Records()), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: records (-want +got):\n%s", path, diff)
		}
	}
}

// A file that is cut off anywhere has the records, and the skip ranges, that are
// whole.
func TestSalvageCut(t *testing.T) {
	v2, v0, _ := older(t, octets(t, "testdata/ipv6-mixed/s2c.owp"))
	for name, file := range map[string][]byte{
		"receiver's":        octets(t, "testdata/loss10/s2c.owp"),
		"fetched":           octets(t, "testdata/one-packet/c2s.owp"),
		"skips in front":    octets(t, "testdata/skips/c2s.owp"),
		"skips behind":      octets(t, "testdata/skips/s2c.owp"),
		"incomplete":        octets(t, "testdata/powstream-failures/f/17198024794895055585_17198024833795714384.owp"),
		"version 2":         v2,
		"version 0":         v0,
		"two kinds of slot": synthetic(t, 40),
	} {
		whole := mustParse(t, file)
		records := collect(t, whole.Records())
		counts := whole.Header().NumRecords > 0
		least := min(whole.data, sizeOfHeader(len(whole.Header().Spec.Slots))) - owamp.BlockSize // without a section
		if name == "version 0" {
			least = sizeV0
		}
		for size := range len(file) {
			r, damage, err := salvage(file[:size])
			if int64(size) < least {
				if _, ok := errors.AsType[*FormatError](err); !ok {
					t.Fatalf("%s, %d octets: error %v, want a FormatError", name, size, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("%s, %d octets: %v", name, size, err)
			}
			n := min(max(0, (int64(size)-whole.data)/whole.recordSize), whole.Len())
			if got := collect(t, r.Records()); !slices.Equal(records[:n], got) {
				t.Fatalf("%s, %d octets: records (-want +got):\n%s", name, size, cmp.Diff(records[:n], got))
			}
			torn := int64(size) > whole.data && (int64(size)-whole.data)%whole.recordSize != 0
			if damage.None() && (counts || torn) {
				t.Errorf("%s, %d octets: no damage", name, size)
			}
			if damage.Records > 1 || damage.Octets >= whole.recordSize {
				t.Errorf("%s, %d octets: %d records and %d octets left out, want at most the last one", name, size, damage.Records, damage.Octets)
			}
			if name == "skips behind" {
				begin := whole.data + whole.Len()*recordSize
				if want := max(0, int64(size)-begin) / skipSize; int64(len(r.Skips())) != want {
					t.Errorf("%s, %d octets: skip ranges %v, want %d", name, size, r.Skips(), want)
				}
			}
		}
	}
}

// synthetic returns the file of a session whose schedule has two slots.
func synthetic(tb testing.TB, n uint32) []byte {
	tb.Helper()
	spec := testSpec(n)
	spec.Slots = []owamp.Slot{{Type: owamp.SlotExponential, Parameter: 1 << 26}, {Type: owamp.SlotFixed, Parameter: 1 << 24}}
	gen, err := schedule.New(spec.SID, spec.Slots)
	if err != nil {
		tb.Fatal(err)
	}
	recs := make([]owamp.Record, n)
	due := spec.Start
	for i := range recs {
		due = due.Add(gen.Next())
		recs[i] = owamp.Record{Seq: uint32(i), Sent: due + 77, Recv: due + 1<<23, SentErr: 0x8a01, RecvErr: 0x8b02, TTL: 250}
		if i%7 == 3 {
			recs[i] = owamp.Record{Seq: uint32(i), Sent: due, SentErr: 1, RecvErr: 0x8b02, TTL: 255}
		}
	}
	var b bytes.Buffer
	if err := Store(&b, &Header{Finished: Normal, NextSeq: n, NumRecords: n, Spec: spec}, nil, all(recs)); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// Octets that are overwritten, lost or added in the middle cost the records
// that they touch, and no other.
func TestSalvageMiddle(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	v2, _, _ := older(t, octets(t, "testdata/mix-sync/s2c.owp"))
	for name, file := range map[string][]byte{
		"receiver's":     octets(t, "testdata/loss10/s2c.owp"),
		"skips in front": octets(t, "testdata/skips/c2s.owp"),
		"version 2":      v2,
	} {
		whole := mustParse(t, file)
		records := collect(t, whole.Records())
		for range 100 {
			first := rng.Int64N(whole.Len())
			at := whole.Offset(first) + rng.Int64N(whole.recordSize)
			to := min(at+1+rng.Int64N(4*whole.recordSize), whole.Offset(whole.Len()))
			behind := (to - whole.data + whole.recordSize - 1) / whole.recordSize
			// Where octets are missing or more half a record and half of the next
			// one may look like one.
			without := func(behind int64) []owamp.Record {
				return slices.Concat(records[:first], records[min(behind, whole.Len()):])
			}
			for _, tt := range []struct {
				how  string
				file []byte
				want []owamp.Record
			}{
				{"zeroed", slices.Concat(file[:at], make([]byte, to-at), file[to:]), without(behind)},
				{"noise", slices.Concat(file[:at], noise(int(to-at)), file[to:]), without(behind)},
				{"missing", slices.Concat(file[:at], file[to:]), without(behind + 1)},
				{"more", slices.Concat(file[:at], noise(1+rng.IntN(100)), file[at:]), without(first + 2)},
			} {
				r, damage := mustSalvage(t, tt.file)
				got := collect(t, r.Records())
				if len(got) > len(records)+1 || !subsequence(tt.want, got) {
					t.Fatalf("%s, octets %d to %d %s: records (-want +got):\n%s", name, at, to, tt.how, cmp.Diff(tt.want, got))
				}
				for i, rec := range got {
					if sound := slices.Contains(records, rec); !sound && !near(records, rec) {
						t.Errorf("%s, octets %d to %d %s: record %d is none of the file: %+v", name, at, to, tt.how, i, rec)
					}
				}
				if len(got) < len(records) && damage.None() && (name != "version 2" || (to-at)%whole.recordSize != 0) {
					t.Errorf("%s, octets %d to %d %s: no damage", name, at, to, tt.how)
				}
				i := rng.IntN(len(got))
				if rest := collect(t, r.RecordsFrom(int64(i))); !slices.Equal(rest, got[i:]) {
					t.Fatalf("%s: from %d: records (-want +got):\n%s", name, i, cmp.Diff(got[i:], rest))
				}
			}
		}
	}
}

// near reports whether rec is a record of recs whose octets were overwritten
// where nobody can tell.
func near(recs []owamp.Record, rec owamp.Record) bool {
	return slices.ContainsFunc(recs, func(r owamp.Record) bool {
		return r.Seq == rec.Seq || r.Sent == rec.Sent || r.Recv == rec.Recv && !r.Lost()
	})
}

// What the header says beside the session may be wrong.
func TestSalvageHeader(t *testing.T) {
	c2s := octets(t, "testdata/skips/c2s.owp") // 2 skip ranges in front
	s2c := octets(t, "testdata/skips/s2c.owp") // 1 behind
	plain := octets(t, "testdata/loss10/s2c.owp")
	v2, v0, _ := older(t, octets(t, "testdata/mix-sync/s2c.owp"))
	for _, tt := range []struct {
		name   string
		file   []byte
		at     int
		octets string
		skips  int
		damage []string
	}{
		{"finished", s2c, 11, "\x07", 1, []string{"octet 8: finished is 7, want 0, 1 or 2: taken for 2"}},
		{"finished, version 2", v2, 19, "\x07", 0, []string{"octet 16: finished is 7, want 0, 1 or 2: taken for 2"}},
		{"next sequence number", s2c, 12, "\x01", 1, []string{"octet 12: next sequence number 16777516, want at most 300: taken for that"}},
		{"more records", s2c, 20, "\x01", 1, []string{"octet 20: 16777516 records, want at most the 300 that the file has room for"}},
		{"fewer records", s2c, 23, "\x07", 1, []string{"octet 20: 263 records and 1 skip ranges that end at 6767, want the end of file at 7692"}},
		{"fewer records, none skipped", plain, 23, "\x07", 0, []string{"octet 20: 7 records and 0 skip ranges that end at 359, want the end of file at 5184"}},
		{"fewer records, skips in front", c2s, 23, "\x07", 2, []string{"octet 20: 263 records and 2 skip ranges that end at 6775, want the end of file at 7700"}},
		{"skips elsewhere", s2c, 31, "\x05", 1, []string{"octet 24: skip ranges at 7685, want them at 7684"}},
		{"skips nowhere", s2c, 24, "\xff", 1, []string{"octet 24: skip ranges at 18374686479671631364, want them at 7684"}},
		{"records elsewhere", plain, 39, "\xb9", 0, []string{"octet 32: records at 185, want them at 184"}},
		{"records nowhere", plain, 32, "\x80", 0, []string{"octet 32: records at 9223372036854775992, want them at 184"}},
		{"records nowhere, version 2", v2, 8, "\x80", 0, []string{"octet 8: records at 9223372036854775972, want them at 164"}},
		{"records nowhere, version 0", v0, 8, "\x80", 0, []string{"octet 8: records at 9223372036854775824, want them at 16"}},
		{"records elsewhere, skips in front", c2s, 39, "\xb9", 2, []string{"octet 32: records at 185, want them at 200"}},
		{"more skips", s2c, 19, "\x09", 1, []string{
			"octet 20: 300 records and 9 skip ranges that end at 7756, want the end of file at 7692",
			"octet 16: 9 skip ranges, of which 1 can be used",
		}},
		{"fewer skips, in front", c2s, 19, "\x01", 1, []string{
			"octet 32: records at 200, want them at 192",
			"octet 20: 300 records and 1 skip ranges that end at 7692, want the end of file at 7700",
			"octet 192: 8 octets are left out: record of packet 217 with the error estimates 0x0000 and 0x00f3: want no multiplier of 0",
		}},
		{"a skip range ends early", s2c, 7684, "\x10", 0, []string{
			"octet 16: 1 skip ranges, of which 0 can be used",
		}},
		{"a skip range ends late", s2c, 7688, "\x10", 0, []string{"octet 16: 1 skip ranges, of which 0 can be used"}},
		{"more octets", append(bytes.Clone(plain), "more"...), 0, "", 0, []string{
			"octet 20: 200 records and 0 skip ranges that end at 5184, want the end of file at 5188",
			"octet 5184: 4 octets are left out: end of file, want 21 octets more",
		}},
	} {
		b := bytes.Clone(tt.file)
		want := collect(t, mustParse(t, b).Records())
		copy(b[tt.at:], tt.octets)
		r, damage := mustSalvage(t, b)
		if diff := cmp.Diff(want, collect(t, r.Records())); diff != "" {
			t.Errorf("%s: records (-want +got):\n%s", tt.name, diff)
		}
		if len(r.Skips()) != tt.skips || r.Header().NumSkips != uint32(tt.skips) {
			t.Errorf("%s: skip ranges %v, want %d", tt.name, r.Skips(), tt.skips)
		}
		if diff := cmp.Diff(tt.damage, texts(damage)); diff != "" {
			t.Errorf("%s: damage (-want +got):\n%s", tt.name, diff)
		}
	}
}

func texts(d *Damage) (s []string) {
	for _, p := range d.Places {
		s = append(s, p.Error())
	}
	return s
}

// Without its session a file says nothing.
func TestSalvageRefuses(t *testing.T) {
	b := octets(t, "testdata/loss10/s2c.owp")
	for _, tt := range []struct {
		name   string
		size   int
		at     int
		octets string
		offset int64
		what   string
	}{
		{"nothing", 0, 0, "", 0, "end of file within the header, want 16 octets"},
		{"no magic", len(b), 0, "Owl", 0, `"Owl\x00", want "OwA\x00": not an .owp file`},
		{"version", len(b), 7, "\x09", 4, "version 9, want 3, 2 or 0"},
		{"cut", 151, 0, "", 151, "end of file within the header, want 152 octets"},
		{"slots cut", 167, 0, "", 44, "1 slots, want at most 0"},
		{"no slot", len(b), 47, "\x00", 40, "session: schedule: no slots, want at least one"},
		{"session", len(b), 40, "\x07", 40, "session: first octet 7, want 1 for Request-Session"},
		{"session ID", len(b), 90, "\xff\xff", 40, "session: its schedule is that of "},
		{"start", len(b), 110, "\x01", 40, "session: no record fits it: packet 1 sent at "},
		{"mean interval", len(b), 164, "\x77", 40, "session: its schedule is that of "},
	} {
		damaged := bytes.Clone(b[:tt.size])
		copy(damaged[min(tt.at, len(damaged)):], tt.octets)
		_, _, err := salvage(damaged)
		if fe, ok := errors.AsType[*FormatError](err); !ok || fe.Offset != tt.offset || !strings.HasPrefix(fe.What, tt.what) {
			t.Errorf("%s: %v, want octet %d: %s", tt.name, err, tt.offset, tt.what)
		}
	}
	if _, _, err := Salvage(filepath.Join("testdata", "missing.owp")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	path := filepath.Join("testdata", "README.md")
	if _, _, err := Salvage(path); err == nil || !strings.HasPrefix(err.Error(), path+": octet 0: ") {
		t.Errorf("%v: want it to name the file", err)
	}
	r, damage, err := Salvage("testdata/loss10/s2c.owp")
	if err != nil || !damage.None() || r.Len() != 200 {
		t.Fatalf("%v, %v", err, damage)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// A record far ahead of, or behind, the others is not the session's, and costs
// little.
func TestTimetable(t *testing.T) {
	spec := testSpec(math.MaxUint32)
	spec.Slots = []owamp.Slot{{Type: owamp.SlotFixed, Parameter: 1 << 20}}
	tt, err := newTimetable(&spec)
	if err != nil {
		t.Fatal(err)
	}
	at := func(seq uint32) owamp.Record {
		due := spec.Start + owamp.Timestamp(seq+1)<<20
		return owamp.Record{Seq: seq, Sent: due, Recv: due + 1, SentErr: 1, RecvErr: 1}
	}
	for _, s := range []struct {
		r    owamp.Record
		want string
	}{
		{at(0), ""},
		{at(span), ""},
		{at(2*span + 1), "not so far ahead"},
		{at(2 * span), ""},
		{at(span + 1), ""},
		{at(span), "not so far behind"},
		{owamp.Record{Seq: math.MaxUint32}, "want one below 4294967295"},
		{owamp.Record{Seq: 2 * span, Sent: at(2 * span).Sent}, ""},
		{owamp.Record{Seq: 2 * span, Sent: at(2*span).Sent + 1}, "lost at"},
		{owamp.Record{Seq: 2 * span, Sent: at(2*span).Sent + 1<<40, Recv: 1}, "sent at"},
		{owamp.Record{Seq: 2 * span, Sent: at(2*span).Sent - 1<<40, Recv: 1}, "sent at"},
		{owamp.Record{Seq: 2 * span, Sent: at(2*span).Sent - 1<<63, Recv: 1}, "sent at"},
		{owamp.Record{Seq: 2 * span, Sent: at(2 * span).Sent, Recv: 1}, "received at"},
	} {
		err := tt.check(&s.r)
		if (err == nil) != (s.want == "") || err != nil && !strings.Contains(err.Error(), s.want) {
			t.Errorf("%+v: %v, want %q", s.r, err, s.want)
		}
	}
	if len(tt.due) != 2*span {
		t.Errorf("%d times are kept, want %d", len(tt.due), 2*span)
	}
}

// Of very many places some are kept.
func TestManyPlaces(t *testing.T) {
	b := synthetic(t, 5000)
	r := mustParse(t, b)
	for i := int64(0); i < r.Len(); i += 2 {
		b[r.Offset(i)+5] = 0 // multiplier
	}
	_, damage := mustSalvage(t, b)
	if len(damage.Places) != maxPlaces || damage.Unlisted != 2500-maxPlaces || damage.Records != 2500 || damage.Octets != 2500*recordSize {
		t.Errorf("%d places and %d more, %d records, %d octets", len(damage.Places), damage.Unlisted, damage.Records, damage.Octets)
	}
}

// FuzzSalvage holds that every octet where records may be is part of one or left
// out, and that what a Reader of good files reads of one is not lost.
func FuzzSalvage(f *testing.F) {
	for _, path := range []string{"one-packet/c2s", "ipv6-mixed/s2c", "skips/c2s", "skips/s2c"} {
		b := octets(f, filepath.Join("testdata", path+".owp"))
		b = b[:min(len(b), 700)]
		f.Add(b, uint16(0), []byte(nil))
		f.Add(b, uint16(300), []byte("garbage"))
		binary.BigEndian.PutUint32(b[offFinished:], uint32(Incomplete))
		f.Add(b, uint16(24), make([]byte, 8))
	}
	v2, v0, _ := older(f, octets(f, "testdata/mix-sync/s2c.owp"))
	f.Add(v2[:500], uint16(200), []byte("x"))
	f.Add(v0[:500], uint16(200), []byte("x"))
	f.Fuzz(func(t *testing.T, b []byte, at uint16, patch []byte) {
		if int(at) < len(b) {
			copy(b[at:], patch)
		}
		if len(b) > 52 {
			b[28], b[48] = 0, 0 // the number of packets, for to compute many takes long
			b[29], b[49] = 0, 0
		}
		r, damage, err := salvage(b)
		if err != nil {
			if _, ok := errors.AsType[*FormatError](err); !ok {
				t.Fatalf("error %v is not a FormatError", err)
			}
			return
		}
		var before int64
		n := int64(0)
		for rec, err := range r.Records() {
			if err != nil {
				t.Fatal(err)
			}
			if err := rec.Validate(); err != nil {
				t.Error(err)
			}
			if r.header.Version != version0 && rec.Seq >= r.header.Spec.Packets {
				t.Errorf("record of packet %d of %d", rec.Seq, r.header.Spec.Packets)
			}
			offset := r.Offset(n)
			if offset < before || offset < r.data || offset+r.recordSize > r.size {
				t.Errorf("record %d at %d, behind %d", n, offset, before)
			}
			before = offset + r.recordSize
			n++
		}
		if n != r.Len() {
			t.Errorf("%d records, but Len is %d", n, r.Len())
		}
		if damage.Octets+n*r.recordSize > r.size-r.data {
			t.Errorf("%d octets left out and %d records of %d octets", damage.Octets, n, r.size-r.data)
		}
		if len(r.Skips()) != int(r.header.NumSkips) {
			t.Errorf("%d skip ranges, the header has %d", len(r.Skips()), r.header.NumSkips)
		}
		if damage.None() {
			strict, err := parse(b)
			if err != nil {
				t.Fatalf("no damage, but %v", err)
			}
			if strict.Len() != n {
				t.Errorf("no damage, and %d records; a Reader has %d", n, strict.Len())
			}
		}
	})
}

func ExampleSalvage() {
	r, damage, err := Salvage("testdata/loss10/s2c.owp")
	if err != nil {
		panic(err)
	}
	defer r.Close()
	fmt.Println(r.Len(), "records;", damage.Records, "are left out")
	// Output: 200 records; 0 are left out
}
