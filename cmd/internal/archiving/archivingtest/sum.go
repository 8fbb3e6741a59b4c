package archivingtest

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"owl/owamp"
)

// A Sum is what a .sum file says, or several of one second.
type Sum struct {
	Sent, Lost, Duplicates int
	Delays, TTL            map[int]int // packets by bin, and by TTL
}

// Add adds another sum.
func (s *Sum) Add(o *Sum) {
	s.Sent, s.Lost, s.Duplicates = s.Sent+o.Sent, s.Lost+o.Lost, s.Duplicates+o.Duplicates
	for bin, n := range o.Delays {
		s.Delays[bin] += n
	}
	for ttl, n := range o.TTL {
		s.TTL[ttl] += n
	}
}

// ReadSum reads the file, and returns the second that it begins in, as its name
// says, and the width of its bins in seconds.
func ReadSum(t *testing.T, path string) (at int64, width float64, s *Sum) {
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
	s = &Sum{Delays: make(map[int]int), TTL: make(map[int]int)}
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

// SumsOf returns what the files say, by the second: an archive has one value of
// each.
func SumsOf(t *testing.T, files []string) (width float64, all map[int64]*Sum) {
	t.Helper()
	all = make(map[int64]*Sum)
	for _, file := range files {
		at, w, s := ReadSum(t, file)
		width = w
		if all[at] == nil {
			all[at] = s
		} else {
			all[at].Add(s)
		}
	}
	return width, all
}

// A Reading returns what an archive has of an event type, as it is read back.
type Reading func(event string) map[int64]json.RawMessage

// Archived returns what an archive has of a measurement, in the form of files whose
// bins are so wide. What it has of the loss rate has to be the quotient.
func Archived(t *testing.T, read Reading, width float64) map[int64]*Sum {
	t.Helper()
	all := make(map[int64]*Sum)
	number := func(event string, set func(*Sum, int)) {
		for at, v := range read(event) {
			var f float64
			if err := json.Unmarshal(v, &f); err != nil || f != math.Trunc(f) {
				t.Fatalf("%s at %d: %s, %v", event, at, v, err)
			}
			if all[at] == nil {
				all[at] = &Sum{Delays: make(map[int]int), TTL: make(map[int]int)}
			}
			set(all[at], int(f))
		}
	}
	number("packet-count-sent", func(s *Sum, n int) { s.Sent = n })
	number("packet-count-lost", func(s *Sum, n int) { s.Lost = n })
	number("packet-duplicates", func(s *Sum, n int) { s.Duplicates = n })
	histogram := func(event string, into func(*Sum) map[int]int, unit float64) {
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
	histogram("histogram-owdelay", func(s *Sum) map[int]int { return s.Delays }, width*1000)
	histogram("histogram-ttl", func(s *Sum) map[int]int { return s.TTL }, 1)
	for at, v := range read("packet-loss-rate") {
		var f float64
		if s := all[at]; json.Unmarshal(v, &f) != nil || s == nil || f != float64(s.Lost)/float64(s.Sent) {
			t.Errorf("packet-loss-rate at %d: %s of %+v", at, v, s)
		}
	}
	return all
}

// Glob returns the files that match.
func Glob(t *testing.T, pattern ...string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(pattern...))
	if err != nil || len(files) == 0 {
		t.Fatalf("%q: no files, %v", pattern, err)
	}
	return files
}

// WholeSums returns the summaries of whole sessions in a directory. That of the last
// one may not be there yet: it follows the records.
func WholeSums(t *testing.T, dir string) []string {
	t.Helper()
	return sums(t, dir, true)
}

// PartSums returns those of sub-sessions.
func PartSums(t *testing.T, dir string) []string {
	t.Helper()
	return sums(t, dir, false)
}

// sums returns the summaries beside which there are records, or those without.
func sums(t *testing.T, dir string, records bool) (files []string) {
	t.Helper()
	for _, f := range Glob(t, dir, "*.sum") {
		_, err := os.Stat(strings.TrimSuffix(f, ".sum") + ".owp")
		if (err == nil) == records {
			files = append(files, f)
		}
	}
	return files
}
