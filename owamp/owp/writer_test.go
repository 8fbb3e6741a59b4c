package owp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
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

// disk is a file in memory that keeps every state it has been in, and whose
// operations fail from the one numbered failing on.
type disk struct {
	octets  []byte
	states  [][]byte
	synced  int // states[:synced] had been reached at the last Sync
	ops     int
	failing int // never if 0
}

var errDisk = errors.New("the disk is broken")

func (d *disk) op() error {
	if d.ops++; d.failing > 0 && d.ops >= d.failing {
		return errDisk
	}
	return nil
}

func (d *disk) changed() { d.states = append(d.states, bytes.Clone(d.octets)) }

func (d *disk) ReadAt(b []byte, off int64) (int, error) {
	if err := d.op(); err != nil {
		return 0, err
	}
	return bytes.NewReader(d.octets).ReadAt(b, off)
}

func (d *disk) WriteAt(b []byte, off int64) (int, error) {
	if err := d.op(); err != nil {
		// Half of it went through.
		b = b[:len(b)/2]
		d.put(b, off)
		return len(b), err
	}
	d.put(b, off)
	return len(b), nil
}

func (d *disk) put(b []byte, off int64) {
	if end := int(off) + len(b); end > len(d.octets) {
		d.octets = append(d.octets, make([]byte, end-len(d.octets))...)
	}
	copy(d.octets[off:], b)
	d.changed()
}

func (d *disk) Truncate(size int64) error {
	if err := d.op(); err != nil {
		return err
	}
	d.octets = append(d.octets, make([]byte, max(0, int(size)-len(d.octets)))...)[:size]
	d.changed()
	return nil
}

func (d *disk) Sync() error {
	if err := d.op(); err != nil {
		return err
	}
	d.synced = len(d.states)
	return nil
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
func session(d *disk, recs []owamp.Record, spec *owamp.SessionSpec, settle func(*Writer) error) error {
	w, err := create(d, spec)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(recs, chunk-1) {
		if err := w.Write(part...); err != nil {
			return err
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return settle(w)
}

// The ways a session can end, with what stays of it.
func endings(recs []owamp.Record, spec *owamp.SessionSpec) map[string]struct {
	end      func(*Writer) error
	stays    []owamp.Record
	finished Finished
} {
	// Late packets lie between others, and more than one buffer from the end.
	nextSeq := spec.Packets - 10
	stopped := spec.Start.Add(spec.Timeout) + owamp.Timestamp(spec.Packets-chunk-20)<<32
	skips := make([]owamp.SkipRange, 40)
	for i := range skips {
		skips[i] = owamp.SkipRange{First: uint32(2 * i), Last: uint32(2 * i)}
	}
	greatest := uint32(0)
	for _, r := range recs {
		if !r.Lost() {
			greatest = max(greatest, r.Seq)
		}
	}
	return map[string]struct {
		end      func(*Writer) error
		stays    []owamp.Record
		finished Finished
	}{
		"Finish": {
			func(w *Writer) error { return w.Finish(nextSeq, skips, stopped) },
			settle(recs, func(r owamp.Record) bool {
				return r.Seq < nextSeq && !r.Sent.After(stopped-owamp.Timestamp(spec.Timeout))
			}),
			Normal,
		},
		"FinishIncomplete": {
			func(w *Writer) error { return w.FinishIncomplete() },
			settle(recs, func(r owamp.Record) bool { return r.Seq <= greatest }),
			Incomplete,
		},
	}
}

// shuffled returns records in an order in which those that are dropped lie among
// those that stay. None of the last packets was received.
func shuffled(n int) []owamp.Record {
	recs := randomRecords(n)
	for i := n - 60; i < n; i++ {
		recs[i].Recv = 0
	}
	r := rand.New(rand.NewPCG(8, 8))
	r.Shuffle(n/2, func(i, j int) { i, j = i+n/2, j+n/2; recs[i], recs[j] = recs[j], recs[i] })
	return recs
}

// subsequence reports whether part can be made from whole by leaving some out.
func subsequence(part, whole []owamp.Record) bool {
	for _, r := range whole {
		if len(part) > 0 && part[0] == r {
			part = part[1:]
		}
	}
	return len(part) == 0
}

// TestKilled ends the process after each change of the file: it must be a file
// of an incomplete session then, with no record twice and none made up, and
// Repair must make a settled one of it.
func TestKilled(t *testing.T) {
	const n = 3 * chunk
	recs := shuffled(n)
	spec := testSpec(n)
	for name, ending := range endings(recs, &spec) {
		var d disk
		if err := session(&d, recs, &spec, ending.end); err != nil {
			t.Fatal(err)
		}
		if d.synced != len(d.states) {
			t.Errorf("%s: %d of %d changes are on the disk", name, d.synced, len(d.states))
		}
		if len(ending.stays) == n || len(ending.stays) == 0 {
			t.Fatalf("%s: %d of %d records stay: this tests nothing", name, len(ending.stays), n)
		}
		for i, state := range d.states {
			last := i == len(d.states)-1
			r := mustParse(t, state)
			if want := (r.Header().Finished == Normal); want != (last && ending.finished == Normal) {
				t.Errorf("%s: %v after change %d of %d", name, r.Header().Finished, i+1, len(d.states))
			}
			got := collect(t, r.Records())
			if !subsequence(got, recs) {
				t.Errorf("%s: after change %d of %d: %d records that were not written so", name, i+1, len(d.states), len(got))
			}
			if last && !slices.Equal(got, ending.stays) {
				t.Errorf("%s: %d records, want other %d", name, len(got), len(ending.stays))
			}

			f := emptyFile(t)
			if _, err := f.Write(state); err != nil {
				t.Fatal(err)
			}
			h, err := Repair(f)
			if err != nil {
				t.Fatalf("%s: repairing after change %d: %v", name, i+1, err)
			}
			repaired := octets(t, f.Name())
			if last && !bytes.Equal(repaired, state) {
				t.Errorf("%s: Repair has changed a file that was whole", name)
			}
			r = mustParse(t, repaired)
			if diff := cmp.Diff(h, r.Header(), compareAddr); diff != "" {
				t.Errorf("%s: header (-returned +file):\n%s", name, diff)
			}
			if h.NumRecords != uint32(r.Len()) || !subsequence(collect(t, r.Records()), got) {
				t.Errorf("%s: after change %d: %d records after Repair (header %d), not of the %d before", name, i+1, r.Len(), h.NumRecords, len(got))
			}
		}
	}
}

// TestBrokenDisk lets each operation fail, and all that follow: the error must
// come through, and the file be what Repair can use.
func TestBrokenDisk(t *testing.T) {
	const n = 3 * chunk
	recs := shuffled(n)
	spec := testSpec(n)
	for name, ending := range endings(recs, &spec) {
		for failing := 1; ; failing++ {
			d := disk{failing: failing}
			var w *Writer
			err := session(&d, recs, &spec, func(writer *Writer) error {
				w = writer
				return ending.end(w)
			})
			if err == nil {
				if failing < 10 {
					t.Errorf("%s: only %d operations", name, failing-1)
				}
				break
			}
			if !errors.Is(err, errDisk) {
				t.Errorf("%s: operation %d: error %v", name, failing, err)
			}
			if w != nil && (!errors.Is(w.Write(recs[0]), errDisk) || !errors.Is(w.Flush(), errDisk)) {
				t.Errorf("%s: operation %d: the error does not last", name, failing)
			}
			if failing == 1 {
				continue // half a header
			}
			r := mustParse(t, d.octets)
			if !subsequence(collect(t, r.Records()), recs) && r.Header().NumRecords == 0 {
				t.Errorf("%s: operation %d: %d records that were not written so", name, failing, r.Len())
			}
		}
	}
}

func TestRepair(t *testing.T) {
	recs := randomRecords(20)
	recs[19] = recs[0]
	spec := testSpec(20)
	var d disk
	if err := session(&d, recs, &spec, func(*Writer) error { return nil }); err != nil {
		t.Fatal(err)
	}
	size := len(d.octets)
	greatest := uint32(0)
	for _, r := range recs {
		if !r.Lost() {
			greatest = max(greatest, r.Seq)
		}
	}
	kept := func(recs []owamp.Record) []owamp.Record {
		return settle(recs, func(r owamp.Record) bool { return r.Seq <= greatest })
	}
	for _, tt := range []struct {
		name string
		file []byte
		want []owamp.Record
	}{
		{"whole", d.octets, kept(recs)},
		{"torn record", append(bytes.Clone(d.octets), 1, 2, 3), kept(recs)},
		{"records that never reached the disk", append(bytes.Clone(d.octets), make([]byte, 2*recordSize+7)...), kept(recs[:19])},
		{"a page that never reached the disk", slices.Concat(d.octets[:size-3*recordSize-11], make([]byte, 11+3*recordSize)), kept(recs[:16])},
		{"header only", d.octets[:sizeOfHeader(2)], nil},
	} {
		f := emptyFile(t)
		if _, err := f.Write(tt.file); err != nil {
			t.Fatal(err)
		}
		h, err := Repair(f)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		want := Header{Version: 3, Finished: Incomplete, NumRecords: uint32(len(tt.want)), Spec: spec}
		if diff := cmp.Diff(&want, h, compareAddr); diff != "" {
			t.Errorf("%s: header (-want +got):\n%s", tt.name, diff)
		}
		got := collect(t, mustParse(t, octets(t, f.Name())).Records())
		if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: records (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestRepairRefuses(t *testing.T) {
	c2s := octets(t, "testdata/skips/c2s.owp")
	binary.BigEndian.PutUint32(c2s[offFinished:], uint32(Incomplete))
	version2 := bytes.Clone(c2s)
	version2[offVersion+3] = 2
	copy(version2[offDataOffsetV2:], "\x00\x00\x00\x00\x00\x00\x00\xa4\x00\x00\x00\x02")
	copy(version2[offRequestV2:], c2s[offRequest:sizeOfHeader(1)])
	for name, tt := range map[string]struct {
		file []byte
		want string
	}{
		"fetched":   {c2s, "version 3 with 2 skip ranges and its records at octet 200: no receiver leaves that, want version 3, none, and 184"},
		"version 2": {version2, "version 2 with 0 skip ranges and its records at octet 164: no receiver leaves that, want version 3, none, and 184"},
		"damaged":   {c2s[:150], "octet 150: end of file within the header, want 152 octets"},
		"empty":     {nil, "octet 0: end of file within the header, want 16 octets"},
	} {
		f := emptyFile(t)
		if _, err := f.Write(tt.file); err != nil {
			t.Fatal(err)
		}
		if _, err := Repair(f); err == nil || err.Error() != f.Name()+": "+tt.want {
			t.Errorf("%s: error %v, want %s", name, err, tt.want)
		}
		if !bytes.Equal(octets(t, f.Name()), tt.file) {
			t.Errorf("%s: the file has changed", name)
		}
	}
}

// FuzzRepair holds that Repair, whatever it finds, leaves a file that it would
// leave as it is.
func FuzzRepair(f *testing.F) {
	spec := testSpec(8)
	var d disk
	if err := session(&d, randomRecords(8), &spec, func(*Writer) error { return nil }); err != nil {
		f.Fatal(err)
	}
	f.Add(d.octets)
	f.Add(append(bytes.Clone(d.octets), make([]byte, 60)...))
	f.Add(d.octets[:len(d.octets)-7])
	f.Fuzz(func(t *testing.T, b []byte) {
		file := emptyFile(t)
		if _, err := file.Write(b); err != nil {
			t.Fatal(err)
		}
		h, err := Repair(file)
		if err != nil {
			return
		}
		once := octets(t, file.Name())
		again, err := Repair(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(h, again, compareAddr); diff != "" {
			t.Errorf("header (-once +twice):\n%s", diff)
		}
		if !bytes.Equal(octets(t, file.Name()), once) {
			t.Error("the file has changed again")
		}
	})
}

// discarding is a file that takes everything.
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
