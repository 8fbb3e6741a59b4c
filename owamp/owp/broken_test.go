package owp

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/owamp"
)

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
