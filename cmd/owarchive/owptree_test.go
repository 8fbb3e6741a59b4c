package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/archive/series"
	"owl/archive/store"
	"owl/cmd/internal/archiving/archivingtest"
	"owl/owamp"
	"owl/owamp/owp"
)

// ofStore reads from a store.
func ofStore(t *testing.T, s *store.Store, key string) archivingtest.Reading {
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
	whole, err := os.ReadFile(archivingtest.Glob(t, dir, "receive/*.owp")[0])
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
		width, want := archivingtest.SumsOf(t, archivingtest.WholeSums(t, filepath.Join("testdata/tree", way)))
		if diff := cmp.Diff(want, archivingtest.Archived(t, ofStore(t, s, m.Key), width)); diff != "" {
			t.Errorf("%s: the files (-), the archive (+)\n%s", way, diff)
		}
	}
}

// Names that are given are in the metadata, and the addresses are those of the
// files; a tree may be named by a link to it.
func TestImportTreeNames(t *testing.T) {
	t.Parallel()
	s := openStore(t)
	o := treeOptions{Source: "rome.invalid", Destination: "oslo.invalid", Agent: "oslo.invalid"}
	there, err := filepath.Abs("testdata/tree/receive")
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(there, link); err != nil {
		t.Fatal(err)
	}
	if err := importTree(t.Context(), s, link, o, func(string) {}); err != nil {
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
	files := archivingtest.Glob(t, "testdata/tree/receive/*.owp")[:2]
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
	both := &archivingtest.Sum{Delays: make(map[int]int), TTL: make(map[int]int)}
	for _, file := range files {
		_, _, s := archivingtest.ReadSum(t, strings.TrimSuffix(file, ".owp")+".sum")
		both.Add(s)
	}
	if diff := cmp.Diff(map[int64]*archivingtest.Sum{at: both}, archivingtest.Archived(t, ofStore(t, s, all[0].Key), 0.0001)); diff != "" {
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
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := importTree(canceled, s, "testdata/tree", treeOptions{}, func(string) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	// An archive that fails is nobody's fault who has written the files.
	closed, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "archive.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	var said []string
	err = importTree(t.Context(), closed, "testdata/tree", treeOptions{}, func(line string) { said = append(said, line) })
	if err == nil || !strings.HasPrefix(err.Error(), "testdata/tree/") || len(said) > 0 {
		t.Errorf("%v, told %q", err, said)
	}
}
