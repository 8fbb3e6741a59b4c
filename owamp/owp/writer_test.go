package owp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/owamp"
)

// emptyFile returns a new file, open for reading and writing.
func emptyFile(tb testing.TB) *os.File {
	tb.Helper()
	f, err := os.Create(filepath.Join(tb.TempDir(), "session.owp"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { f.Close() })
	return f
}
func mustWrite(tb testing.TB, w *Writer, recs ...owamp.Record) {
	tb.Helper()
	if err := w.Write(recs...); err != nil {
		tb.Fatal(err)
	}
}

// never is a time at which every record is older than its time-out.
func never(s *owamp.SessionSpec) owamp.Timestamp { return s.Start + 1<<30<<32 }

// TestWriterGolden writes the files that the reference's receivers have
// written, octet for octet.
func TestWriterGolden(t *testing.T) {
	n := 0
	for _, path := range golden(t) {
		if strings.Contains(path, "c2s") {
			continue
		}
		want := octets(t, path)
		r := mustParse(t, want)
		f := emptyFile(t)
		w, err := Create(f, &r.Header().Spec)
		if err != nil {
			t.Fatal(err)
		}
		mustWrite(t, w, collect(t, r.Records())...)
		if err := w.Finish(r.Header().NextSeq, r.Skips(), never(&r.Header().Spec)); err != nil {
			t.Error(err)
		}
		if got := octets(t, f.Name()); !bytes.Equal(got, want) {
			t.Errorf("%s became\n%x, want\n%x", path, got, want)
		}
		n++
	}
	if n != 34 {
		t.Errorf("%d files, want 34", n)
	}
}

// TestWriterFollowed reads the file while it is written.
func TestWriterFollowed(t *testing.T) {
	const n = 2*chunk + 3
	recs := randomRecords(n)
	spec := testSpec(n)
	f := emptyFile(t)
	w, err := Create(f, &spec)
	if err != nil {
		t.Fatal(err)
	}
	for next := 0; next < n; {
		i := next
		next = min(i+1+i%977, n)
		mustWrite(t, w, recs[i:next]...)
		if w.Len() != int64(next) {
			t.Fatalf("Len %d, want %d", w.Len(), next)
		}
		if r := mustParse(t, octets(t, f.Name())); r.Len() > int64(next) {
			t.Fatalf("%d records in the file, want at most %d", r.Len(), next)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		r := mustParse(t, octets(t, f.Name()))
		want := Header{Version: 3, Finished: Incomplete, Spec: spec}
		if diff := cmp.Diff(&want, r.Header(), compareAddr); diff != "" {
			t.Fatalf("header (-want +got):\n%s", diff)
		}
		if !slices.Equal(collect(t, r.Records()), recs[:next]) {
			t.Fatalf("after %d records the file has others", next)
		}
	}
}

// settle is what Finish and FinishIncomplete have to keep of recs.
func settle(recs []owamp.Record, keep func(owamp.Record) bool) []owamp.Record {
	var kept []owamp.Record
	for _, r := range recs {
		if keep(r) {
			kept = append(kept, r)
		}
	}
	return kept
}

func TestFinish(t *testing.T) {
	const n = 3 * chunk
	recs := randomRecords(n)
	spec := testSpec(n)
	late := func(seq int) owamp.Timestamp { // packets from seq on were sent within the time-out
		return spec.Start.Add(spec.Timeout) + owamp.Timestamp(seq)<<32 - 1
	}
	for _, tt := range []struct {
		name    string
		nextSeq uint32
		skips   []owamp.SkipRange
		stopped owamp.Timestamp
		sent    int // no packet of this number or a later one stays
	}{
		{"all", n, nil, never(&spec), n},
		{"just in time", n, nil, late(n), n},
		{"last one late", n, nil, late(n - 1), n - 1},
		{"many late", n, []owamp.SkipRange{{First: 3, Last: 3}}, late(chunk + 5), chunk + 5},
		{"not all sent", n - 1, []owamp.SkipRange{{First: 0, Last: 0}, {First: 7, Last: n - 2}}, never(&spec), n - 1},
		{"half of it sent", n / 2, nil, never(&spec), n / 2},
		{"both", n / 2, nil, late(n / 3), n / 3},
		{"nothing sent", 0, nil, never(&spec), 0},
		{"stopped before the start", n, []owamp.SkipRange{{First: 0, Last: n - 1}}, spec.Start, 0},
	} {
		f := emptyFile(t)
		w, err := Create(f, &spec)
		if err != nil {
			t.Fatal(err)
		}
		mustWrite(t, w, recs...)
		if err := w.Finish(tt.nextSeq, tt.skips, tt.stopped); err != nil {
			t.Fatal(err)
		}
		want := settle(recs, func(r owamp.Record) bool { return int(r.Seq) < tt.sent })
		r := mustParse(t, octets(t, f.Name()))
		header := Header{
			Version: 3, Finished: Normal, NextSeq: tt.nextSeq,
			NumSkips: uint32(len(tt.skips)), NumRecords: uint32(len(want)), Spec: spec,
		}
		if diff := cmp.Diff(&header, r.Header(), compareAddr); diff != "" {
			t.Errorf("%s: header (-want +got):\n%s", tt.name, diff)
		}
		if diff := cmp.Diff(tt.skips, r.Skips()); diff != "" {
			t.Errorf("%s: skip ranges (-want +got):\n%s", tt.name, diff)
		}
		if got := collect(t, r.Records()); !slices.Equal(got, want) {
			t.Errorf("%s: %d records, want other %d", tt.name, len(got), len(want))
		}
		size := sizeOfHeader(2) + int64(len(want))*recordSize + int64(len(tt.skips))*skipSize
		if info, err := f.Stat(); err != nil || info.Size() != size || w.Len() != int64(len(want)) {
			t.Errorf("%s: %d octets, Len %d, %v; want %d, %d", tt.name, info.Size(), w.Len(), err, size, len(want))
		}
	}
}

func TestFinishIncomplete(t *testing.T) {
	received := func(seq uint32) owamp.Record {
		return owamp.Record{Seq: seq, Sent: 1, Recv: 2, SentErr: 1, RecvErr: 1, TTL: 64}
	}
	lost := func(seq uint32) owamp.Record {
		return owamp.Record{Seq: seq, Sent: 1, SentErr: 1, RecvErr: 1, TTL: 255}
	}
	spec := testSpec(10)
	for _, tt := range []struct {
		name       string
		recs, want []owamp.Record
	}{
		{"nothing", nil, nil},
		{"nothing received", []owamp.Record{lost(0), lost(1)}, nil},
		{"only the first", []owamp.Record{received(0), lost(1)}, []owamp.Record{received(0)}},
		{"nothing lost", []owamp.Record{received(1), received(0)}, []owamp.Record{received(1), received(0)}},
		{"lost before and after", []owamp.Record{lost(0), received(3), lost(1), lost(4), lost(2), received(3), lost(5)}, []owamp.Record{lost(0), received(3), lost(1), lost(2), received(3)}},
	} {
		f := emptyFile(t)
		w, err := Create(f, &spec)
		if err != nil {
			t.Fatal(err)
		}
		mustWrite(t, w, tt.recs...)
		if err := w.FinishIncomplete(); err != nil {
			t.Fatal(err)
		}
		r := mustParse(t, octets(t, f.Name()))
		header := Header{Version: 3, Finished: Incomplete, NumRecords: uint32(len(tt.want)), Spec: spec}
		if diff := cmp.Diff(&header, r.Header(), compareAddr); diff != "" {
			t.Errorf("%s: header (-want +got):\n%s", tt.name, diff)
		}
		if diff := cmp.Diff(tt.want, collect(t, r.Records())); diff != "" {
			t.Errorf("%s: records (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestFinishRefuses: what the sender says must be possible, and a Writer that
// was told nonsense goes on.
func TestFinishRefuses(t *testing.T) {
	spec := testSpec(10)
	f := emptyFile(t)
	w, err := Create(f, &spec)
	if err != nil {
		t.Fatal(err)
	}
	recs := randomRecords(10)
	mustWrite(t, w, recs[:5]...)
	for want, err := range map[string]error{
		"next sequence number 11: want at most 10, the packets of the session": w.Finish(11, nil, never(&spec)),
		"skip range 3 to 2: want its end not before its begin":                 w.Finish(10, []owamp.SkipRange{{First: 3, Last: 2}}, never(&spec)),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	mustWrite(t, w, recs[5:]...)
	if err := w.Finish(10, nil, never(&spec)); err != nil {
		t.Fatal(err)
	}
	if got := collect(t, mustParse(t, octets(t, f.Name())).Records()); !slices.Equal(got, recs) {
		t.Errorf("records %v, want %v", got, recs)
	}
	// And then it is over.
	for name, err := range map[string]error{
		"Write":            w.Write(recs[0]),
		"Flush":            w.Flush(),
		"Finish":           w.Finish(10, nil, never(&spec)),
		"FinishIncomplete": w.FinishIncomplete(),
	} {
		if !errors.Is(err, errFinished) {
			t.Errorf("%s after Finish: %v", name, err)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	spec := testSpec(10)
	w, err := create(&disk{}, &spec)
	if err != nil {
		t.Fatal(err)
	}
	rec := randomRecords(1)[0]
	w.records = math.MaxUint32
	if err := w.Write(rec); err == nil || err.Error() != "record 4294967295: want at most 4294967295 in a file" {
		t.Errorf("one record too many: %v", err)
	}
	if w, err = create(&disk{}, &spec); err != nil {
		t.Fatal(err)
	}
	rec.SentErr = 0
	if err := w.Write(rec); err == nil || !strings.Contains(err.Error(), "want no multiplier of 0") {
		t.Errorf("record without error estimate: %v", err)
	}
	if w.Len() != 0 {
		t.Errorf("Len %d, want 0", w.Len())
	}
}

func TestCreateRefuses(t *testing.T) {
	spec := testSpec(1)
	f := emptyFile(t)
	if _, err := f.WriteString("x"); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(f, &spec); err == nil || err.Error() != f.Name()+": 1 octets long, want an empty file" {
		t.Errorf("file with something in it: %v", err)
	}
	spec.ConfSender = false
	if _, err := Create(emptyFile(t), &spec); err == nil || !strings.Contains(err.Error(), "neither sends nor receives") {
		t.Errorf("session without a sender: %v", err)
	}
	f.Close()
	if _, err := Create(f, &spec); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed file: %v", err)
	}
}

// session writes a session of recs to d and settles it, up to the first error.
type discarding struct{ io.ReaderAt }

func (discarding) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }
func (discarding) Truncate(int64) error                   { return nil }
func (discarding) Sync() error                            { return nil }

func TestWriteDoesNotAllocate(t *testing.T) {
	spec := testSpec(10)
	w, err := create(discarding{}, &spec)
	if err != nil {
		t.Fatal(err)
	}
	recs := randomRecords(1000)
	if n := testing.AllocsPerRun(100, func() {
		if err := w.Write(recs...); err != nil {
			t.Error(err)
		}
		if err := w.Flush(); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations in writing 1000 records, want none", n)
	}
}

func BenchmarkWrite(b *testing.B) {
	const n = 1 << 20
	spec := testSpec(n)
	recs := randomRecords(n)
	f := emptyFile(b)
	w, err := Create(f, &spec)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		w.records = 0 // over and over into the same file
		mustWrite(b, w, recs...)
		if err := w.Flush(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkFinish(b *testing.B) {
	for _, n := range []int{600, 1 << 20} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			spec := testSpec(uint32(n))
			recs := randomRecords(n)
			dir := b.TempDir()
			for b.Loop() {
				b.StopTimer()
				f, err := os.CreateTemp(dir, "")
				if err != nil {
					b.Fatal(err)
				}
				w, err := Create(f, &spec)
				if err != nil {
					b.Fatal(err)
				}
				mustWrite(b, w, recs...)
				b.StartTimer()
				if err := w.Finish(uint32(n), nil, never(&spec)); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				f.Close()
				os.Remove(f.Name())
				b.StartTimer()
			}
		})
	}
}
