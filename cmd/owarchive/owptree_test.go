package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/archive/series"
	"owl/archive/store"
	"owl/owamp"
	"owl/owamp/owp"
)

// A sum is what a .sum file says, or several of one second.
type sum struct {
	Sent, Lost, Duplicates int
	Delays, TTL            map[int]int // packets by bin, and by TTL
}

// add adds another sum.
func (s *sum) add(o *sum) {
	s.Sent, s.Lost, s.Duplicates = s.Sent+o.Sent, s.Lost+o.Lost, s.Duplicates+o.Duplicates
	for bin, n := range o.Delays {
		s.Delays[bin] += n
	}
	for ttl, n := range o.TTL {
		s.TTL[ttl] += n
	}
}

// readSum reads the file, and returns the second that it begins in, as its name
// says, and the width of its bins in seconds.
func readSum(t *testing.T, path string) (at int64, width float64, s *sum) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	begin, _, _ := strings.Cut(filepath.Base(path), "_")
	start, err := strconv.ParseUint(begin, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	at, _ = owamp.Timestamp(start).Unix()
	s = &sum{Delays: make(map[int]int), TTL: make(map[int]int)}
	number := func(text string) int {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return n
	}
	var section map[int]int
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		switch key {
		case "SENT":
			s.Sent = number(value)
		case "LOST":
			s.Lost = number(value)
		case "DUPS":
			s.Duplicates = number(value)
		case "BUCKET_WIDTH":
			if width, err = strconv.ParseFloat(value, 64); err != nil {
				t.Fatal(err)
			}
		case "<BUCKETS>":
			section = s.Delays
		case "<TTLBUCKETS>":
			section = s.TTL
		case "":
			if bin, n, ok := strings.Cut(value, "\t"); ok && section != nil {
				section[number(bin)] = number(n)
			}
		default:
			section = nil
		}
	}
	return at, width, s
}

// sumsOf returns what the files say, by the second: an archive has one value of
// each.
func sumsOf(t *testing.T, files []string) (width float64, all map[int64]*sum) {
	t.Helper()
	all = make(map[int64]*sum)
	for _, file := range files {
		at, w, s := readSum(t, file)
		width = w
		if all[at] == nil {
			all[at] = s
		} else {
			all[at].add(s)
		}
	}
	return width, all
}

// A reading returns what an archive has of an event type, as it is read back.
type reading func(event string) map[int64]json.RawMessage

// archived returns what an archive has of a measurement, in the form of files whose
// bins are so wide. What it has of the loss rate has to be the quotient.
func archived(t *testing.T, read reading, width float64) map[int64]*sum {
	t.Helper()
	all := make(map[int64]*sum)
	number := func(event string, set func(*sum, int)) {
		for at, v := range read(event) {
			var f float64
			if err := json.Unmarshal(v, &f); err != nil || f != math.Trunc(f) {
				t.Fatalf("%s at %d: %s, %v", event, at, v, err)
			}
			if all[at] == nil {
				all[at] = &sum{Delays: make(map[int]int), TTL: make(map[int]int)}
			}
			set(all[at], int(f))
		}
	}
	number("packet-count-sent", func(s *sum, n int) { s.Sent = n })
	number("packet-count-lost", func(s *sum, n int) { s.Lost = n })
	number("packet-duplicates", func(s *sum, n int) { s.Duplicates = n })
	histogram := func(event string, into func(*sum) map[int]int, unit float64) {
		for at, v := range read(event) {
			var bins map[string]int
			if err := json.Unmarshal(v, &bins); err != nil || all[at] == nil {
				t.Fatalf("%s at %d: %s, %v", event, at, v, err)
			}
			for label, n := range bins {
				f, err := strconv.ParseFloat(label, 64)
				bin := math.Round(f / unit)
				if err != nil || math.Abs(f-bin*unit) > 1e-9 {
					t.Errorf("%s at %d: label %s, want a multiple of %v", event, at, label, unit)
				}
				into(all[at])[int(bin)] += n
			}
		}
	}
	histogram("histogram-owdelay", func(s *sum) map[int]int { return s.Delays }, width*1000)
	histogram("histogram-ttl", func(s *sum) map[int]int { return s.TTL }, 1)
	for at, v := range read("packet-loss-rate") {
		var f float64
		if s := all[at]; json.Unmarshal(v, &f) != nil || s == nil || f != float64(s.Lost)/float64(s.Sent) {
			t.Errorf("packet-loss-rate at %d: %s of %+v", at, v, s)
		}
	}
	return all
}

// ofStore reads from a store.
func ofStore(t *testing.T, s *store.Store, key string) reading {
	return func(event string) map[int64]json.RawMessage {
		all := make(map[int64]json.RawMessage)
		for r, err := range s.Read(t.Context(), store.Query{Key: key, Event: series.EventType(event), To: 1 << 40, Limit: -1}) {
			if err != nil {
				t.Fatal(err)
			}
			all[r.Time] = r.AppendJSON(nil)
		}
		return all
	}
}

// openStore opens an archive of its own.
func openStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "archive.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// glob returns the files that match.
func glob(t *testing.T, pattern ...string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(pattern...))
	if err != nil || len(files) == 0 {
		t.Fatalf("%q: no files, %v", pattern, err)
	}
	return files
}

// wholeSums are those of whole sessions in a directory.
func wholeSums(t *testing.T, dir string) (files []string) {
	t.Helper()
	for _, f := range glob(t, dir, "*.owp") {
		files = append(files, strings.TrimSuffix(f, ".owp")+".sum")
	}
	return files
}

// A tree that the C suite's powstream has written is in the archive what its
// summaries say, in the width of their bins, as one measurement for each way of
// measuring; a second import changes nothing, and files that are bad keep no others
// out.
func TestImportTree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/tree")); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(glob(t, dir, "receive/*.owp")[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"receive/17198022600000000000_17198022610000000000.owp": string(whole[:len(whole)-7]),
		"bad.owp":           "no such file",
		".owl-00.owp.i":     "in progress",
		".hidden.owp":       "nobody's",
		"receive/notes.txt": "a note",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := openStore(t)
	for range 2 {
		var said []string
		err := importTree(t.Context(), s, dir, treeOptions{}, func(line string) { said = append(said, line) })
		if err == nil || err.Error() != dir+": 2 of 19 files were not imported" {
			t.Errorf("%v", err)
		}
		slices.Sort(said)
		if len(said) != 3 || said[0] != dir+": 19 files, 17 sessions imported" ||
			!strings.HasPrefix(said[1], "not imported: "+dir+"/bad.owp: octet ") ||
			!strings.HasPrefix(said[2], "not imported: "+dir+"/receive/17198022600000000000_17198022610000000000.owp: ") {
			t.Errorf("told %q", said)
		}
		checkTree(t, s, dir)
	}
}

// checkTree checks that s has what the tree below dir says.
func checkTree(t *testing.T, s *store.Store, dir string) {
	t.Helper()
	all, total, err := s.Search(t.Context(), &store.Filter{Limit: 10})
	if err != nil || total != 3 {
		t.Fatalf("%d measurements, %v", total, err)
	}
	for _, m := range all {
		from, way := "10.98.0.2", "receive"
		switch {
		case m.Parameters["mode-flip"] == "False":
			from, way = "10.98.0.1", "send"
		case m.Parameters["sample-size"] == "60":
			way = "parts"
		}
		if m.Source.String() != from || m.MeasurementAgent.String() != "10.98.0.1" || m.Destination == m.Source || m.InputSource != from ||
			m.ToolName != "pscheduler/powstream" || m.Parameters["time-probe-interval"] != "0.1" || m.Parameters["time-probe-timeout"] != "1.0" && m.Parameters["time-probe-timeout"] != "1" {
			t.Errorf("%s: %v, %v", way, m, m.Parameters)
		}
		width, want := sumsOf(t, wholeSums(t, filepath.Join("testdata/tree", way)))
		if diff := cmp.Diff(want, archived(t, ofStore(t, s, m.Key), width)); diff != "" {
			t.Errorf("%s: the files (-), the archive (+)\n%s", way, diff)
		}
	}
}

// Names that are given are in the metadata, and the addresses are those of the
// files.
func TestImportTreeNames(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	o := treeOptions{Source: "rome.invalid", Destination: "oslo.invalid", Agent: "oslo.invalid"}
	if err := importTree(t.Context(), s, "testdata/tree/receive", o, func(string) {}); err != nil {
		t.Fatal(err)
	}
	all, _, err := s.Search(t.Context(), &store.Filter{Limit: 10})
	if err != nil || len(all) != 1 {
		t.Fatalf("%d measurements, %v", len(all), err)
	}
	if m := all[0]; m.InputSource != "rome.invalid" || m.InputDestination != "oslo.invalid" ||
		m.Source.String() != "10.98.0.2" || m.Destination.String() != "10.98.0.1" || m.MeasurementAgent.String() != "10.98.0.1" {
		t.Errorf("%+v", m)
	}
}

// shifted returns records of another time.
func shifted(recs iter.Seq2[owamp.Record, error], later owamp.Timestamp) iter.Seq2[owamp.Record, error] {
	return func(yield func(owamp.Record, error) bool) {
		for r, err := range recs {
			r.Sent += later
			if !r.Lost() {
				r.Recv += later
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// Sessions of one second are one point.
func TestImportTreeShort(t *testing.T) {
	t.Parallel()
	files := glob(t, "testdata/tree/receive/*.owp")[:2]
	dir := t.TempDir()
	var start owamp.Timestamp
	for i, file := range files {
		r, err := owp.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		h := *r.Header()
		if i == 0 {
			start = h.Spec.Start &^ (1<<32 - 1)
		}
		later := start + owamp.Timestamp(i)<<30 - h.Spec.Start
		h.Spec.Start += later
		h.NumRecords = uint32(r.Len())
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%d.owp", i)))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(owp.Store(f, &h, r.Skips(), shifted(r.Records(), later)), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	s := openStore(t)
	var said []string
	if err := importTree(t.Context(), s, dir, treeOptions{}, func(line string) { said = append(said, line) }); err != nil {
		t.Fatalf("%v: %q", err, said)
	}
	if want := []string{dir + ": 2 files, 2 sessions imported"}; !slices.Equal(said, want) {
		t.Errorf("told %q, want %q", said, want)
	}
	all, _, err := s.Search(t.Context(), &store.Filter{Limit: 10})
	if err != nil || len(all) != 1 {
		t.Fatalf("%d measurements, %v", len(all), err)
	}
	at, _ := start.Unix()
	both := &sum{Delays: make(map[int]int), TTL: make(map[int]int)}
	for _, file := range files {
		_, _, s := readSum(t, strings.TrimSuffix(file, ".owp")+".sum")
		both.add(s)
	}
	if diff := cmp.Diff(map[int64]*sum{at: both}, archived(t, ofStore(t, s, all[0].Key), 0.0001)); diff != "" {
		t.Error(diff)
	}
}

// What is no tree of files is refused, and what nobody waits for any more ends.
func TestImportTreeRefused(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	empty := t.TempDir()
	err := importTree(t.Context(), s, empty, treeOptions{}, func(string) {})
	if err == nil || err.Error() != empty+": want a tree with .owp files: there are none" {
		t.Errorf("%v", err)
	}
	if err := importTree(t.Context(), s, "/nowhere", treeOptions{}, func(string) {}); !os.IsNotExist(err) {
		t.Errorf("%v", err)
	}
}
