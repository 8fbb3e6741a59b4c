package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// damage writes a file that was changed and returns its path.
func damage(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "damaged.owp")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func golden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "golden", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const data = 184 // where the records begin in a file of one slot

// What is not damaged is reported as without the option.
func TestSalvageUndamaged(t *testing.T) {
	for _, path := range files(t, ".owp") {
		for _, args := range []string{"-M", "-R", "-N 50", "-v"} {
			_, want, _ := owstats(t, append(strings.Fields(args), path)...)
			code, got, stderr := owstats(t, append(strings.Fields(args), "--salvage", path)...)
			if code != 0 || got != want || !strings.HasPrefix(stderr, "owstats: "+path+": undamaged: ") {
				t.Errorf("owstats --salvage %s %s: exit code %d, %s (-without +with):\n%s", args, path, code, stderr, cmp.Diff(want, got))
			}
		}
	}
}

// A file that is cut off anywhere behind its header is reported on, and the
// report is that of the records that are whole.
func TestSalvageCut(t *testing.T) {
	for _, name := range []string{"one-packet/c2s.owp", "ipv6-mixed/s2c.owp"} {
		b := golden(t, name)
		path := damage(t, nil)
		_, raw, _ := owstats(t, "-R", "testdata/golden/"+name)
		lines := slices.Collect(strings.Lines(raw))
		records := len(b) - len(lines)*25
		for size := range len(b) {
			if err := os.WriteFile(path, b[:size], 0o644); err != nil {
				t.Fatal(err)
			}
			code, stdout, stderr := owstats(t, "--salvage", "-R", path)
			if size < data-16 {
				if code != 1 || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "owstats: "+path+": octet ") {
					t.Fatalf("%s, %d octets: exit code %d, %q, %q", name, size, code, stdout, stderr)
				}
				continue
			}
			whole := max(0, size-records) / 25
			if code != 3 || stdout != strings.Join(lines[:whole], "") || !strings.Contains(stderr, fmt.Sprintf(": damaged: %d records are used", whole)) {
				t.Fatalf("%s, %d octets: exit code %d, %s", name, size, code, stderr)
			}
			if code, stdout, stderr := owstats(t, "--salvage", "-M", path); code != 3 || !strings.HasPrefix(stdout, "SUMMARY\t3.00\n") {
				t.Fatalf("%s, %d octets: exit code %d, %s", name, size, code, stderr)
			}
		}
	}
}

// It is said where what is wrong, and how much is used.
func TestSalvageTells(t *testing.T) {
	good := golden(t, "loss10/s2c.owp")
	_, raw, _ := owstats(t, "-R", "testdata/golden/loss10/s2c.owp")
	lines := slices.Collect(strings.Lines(raw))

	garbage := bytes.Clone(good)
	copy(garbage[data+10*25+7:], bytes.Repeat([]byte("garbage "), 5))
	loss := slices.IndexFunc(lines[10:], func(line string) bool { return strings.Contains(line, " 00000000000000000000 ") }) + 10
	twice := slices.Concat(good[:data+(loss+5)*25], good[data+(loss-5)*25:])
	for _, tt := range []struct {
		name   string
		file   []byte
		raw    []string // lines of -R
		sent   int
		stderr []string // parts of its lines
	}{
		{"garbage", garbage, slices.Concat(lines[:10], lines[12:]), 198, []string{
			"octet 434: 50 octets are left out: packet ",
			"damaged: 198 records are used, and 50 octets left out, which have room for 2",
		}},
		{"cut", good[:data+50*25+3], lines[:50], 50, []string{
			"octet 20: 200 records, want at most the 50 that the file has room for",
			"octet 1434: 3 octets are left out: end of file, want 22 octets more",
			"damaged: 50 records are used, and 3 octets left out, which have room for 1",
		}},
		{"no final header", slices.Concat(good[:8], []byte{0, 0, 0, 2}, make([]byte, 20), good[32:1000]), lines[:32], 32, []string{
			"octet 984: 16 octets are left out: end of file, want 9 octets more",
			"damaged: 32 records are used, and 16 octets left out, which have room for 1",
		}},
	} {
		path := damage(t, tt.file)
		code, stdout, stderr := owstats(t, "--salvage", "-R", path)
		if code != 3 {
			t.Errorf("%s: exit code %d", tt.name, code)
		}
		if d := cmp.Diff(strings.Join(tt.raw, ""), stdout); d != "" {
			t.Errorf("%s: records (-want +got):\n%s", tt.name, d)
		}
		told := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
		if len(told) != len(tt.stderr) {
			t.Fatalf("%s: %q, want %d lines", tt.name, told, len(tt.stderr))
		}
		for i, want := range tt.stderr {
			if !strings.HasPrefix(told[i], "owstats: "+path+": "+want) {
				t.Errorf("%s: line %q, want %q", tt.name, told[i], want)
			}
		}
		s := &document(t, 3, "--salvage", path).Sessions[0]
		if got := int(s.Summary.Received + s.Summary.Lost); got != tt.sent || int(s.Damage.RecordsUsed) != tt.sent {
			t.Errorf("%s: %d packets, %d records used; want %d", tt.name, got, s.Damage.RecordsUsed, tt.sent)
		}
	}

	// Records that are there twice contradict each other if the packet was
	// lost.
	path := damage(t, twice)
	again := 0
	for _, line := range lines[loss-5 : loss+5] {
		if strings.Contains(line, " 00000000000000000000 ") {
			again++
		}
	}
	for _, args := range []string{"", "-N 50"} {
		code, _, stderr := owstats(t, append(strings.Fields(args), "--salvage", path)...)
		n := strings.Count(stderr, ": it says lost, and so did one before\n") + strings.Count(stderr, ": the packet was overdue, or a later one had been declared lost\n")
		if code != 3 || n != again {
			t.Errorf("%s: exit code %d, %d contradictions, want %d\n%s", args, code, n, again, stderr)
		}
	}
	s := &document(t, 3, "--salvage", "-N", "50", "-v", path).Sessions[0]
	if s.Damage.RecordsUsed != int64(210-again) || s.Summary.Received+s.Summary.Lost != 200 || int(s.Summary.Duplicates) != 10-again {
		t.Errorf("%d records used, %d received, %d lost, %d duplicates", s.Damage.RecordsUsed, s.Summary.Received, s.Summary.Lost, s.Summary.Duplicates)
	}
	if s.Damage.OctetsLeftOut != 25*s.Damage.RecordsLeftOut || s.Damage.RecordsLeftOut != int64(again) {
		t.Errorf("%d records and %d octets left out, want %d records", s.Damage.RecordsLeftOut, s.Damage.OctetsLeftOut, again)
	}
}

func TestSalvageRefuses(t *testing.T) {
	good := golden(t, "loss10/s2c.owp")
	wrongSID := bytes.Clone(good)
	wrongSID[40+48+15] ^= 1
	for name, tt := range map[string]struct {
		file   []byte
		stderr string
	}{
		"no header":      {good[:100], "octet 100: end of file within the header, want 152 octets"},
		"not an .owp":    {good[50:], "octet 0: "},
		"another SID":    {wrongSID, "octet 40: session: its schedule is that of "},
		"only a header":  {slices.Concat(good[:data], make([]byte, 1000)), "octet 40: session: no record fits it: "},
		"nothing at all": {nil, "octet 0: end of file within the header, want 16 octets"},
	} {
		path := damage(t, tt.file)
		code, stdout, stderr := owstats(t, "--salvage", path)
		if code != 1 || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "owstats: "+path+": "+tt.stderr) {
			t.Errorf("%s: exit code %d, %q, %q; want 1, %q", name, code, stdout, stderr, tt.stderr)
		}
	}
}

// A header that claims 2^32 packets costs seconds, not minutes.
func TestHostileHeader(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: computes 300 million waiting times")
	}
	b := golden(t, "loss10/s2c.owp")
	binary.BigEndian.PutUint32(b[48:], 1<<32-1)
	far := bytes.Clone(b)
	last := len(far) - 25
	binary.BigEndian.PutUint32(far[last:], 1<<32-16)
	clear(far[last+16 : last+24])
	future := bytes.Clone(far)
	future[last+16] = 0xf0
	for name, tt := range map[string]struct {
		file   []byte
		args   string
		code   int
		stderr string
	}{
		"whole":          {b, "-M", 0, "session 0a620001eeaba60e401205bcae02fed7: 4294967295 packets, few of them with a record: the time of the last one is an estimate"},
		"parts":          {b, "-M -N 1000", 1, "4294967295 packets in parts of 1000: want at most 65536 parts, and 67108864 packets, more than the file's 200 records"},
		"loss far ahead": {far, "-M", 1, "octet 5159: record 199, of sequence number 4294967280, is damaged: more than 67108864 packets before it have no record"},
		"far future":     {future, "-M", 1, "octet 5159: record 199, of sequence number 4294967280, is damaged: "},
		"salvaged":       {far, "-M --salvage", 3, ""},
	} {
		path := damage(t, tt.file)
		began := time.Now()
		code, stdout, stderr := owstats(t, append(strings.Fields(tt.args), path)...)
		t.Logf("%s: %v", name, time.Since(began))
		if code != tt.code || !strings.Contains(stderr, tt.stderr) || (stdout == "") != (tt.code == 1) {
			t.Errorf("%s: exit code %d, %q; want %d, %q", name, code, stderr, tt.code, tt.stderr)
		}
	}
	if s := &document(t, 0, damage(t, b)).Sessions[0]; !s.Summary.EndEstimated || s.Summary.NotSent != 1<<32-1-200 {
		t.Errorf("end estimated: %v, %d packets not sent", s.Summary.EndEstimated, s.Summary.NotSent)
	}
}
