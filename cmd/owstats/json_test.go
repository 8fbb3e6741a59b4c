package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/internal/report"
	"owl/owamp/owp"
	"owl/owamp/stats"
)

var update = flag.Bool("update", false, "write the golden documents anew")

// Documents are as they were when they were looked through. They change by
// keys that come to them.
func TestGoldenDocuments(t *testing.T) {
	for name, args := range map[string]string{
		"loss10":      "--json testdata/golden/loss10/s2c.owp",
		"all-lost":    "--json -a 50,99.9 testdata/golden/all-lost/c2s.owp",
		"one-packet":  "--json -v -U testdata/golden/one-packet/s2c.owp",
		"parts":       "--json -N 150 -b 0.001 testdata/golden/skips/c2s.owp",
		"lost-packet": "--json -v3 -b 0.005 testdata/golden/ipv6-mixed/s2c.owp",
		"two-files":   "--json -b 0.01 testdata/golden/one-packet/c2s.owp testdata/golden/dscp-ef/s2c.owp",
	} {
		t.Run(name, func(t *testing.T) {
			code, got, stderr := owstats(t, strings.Fields(args)...)
			if code != 0 || stderr != "" {
				t.Errorf("exit code %d, %s", code, stderr)
			}
			path := filepath.Join("testdata", "json", name+".json")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("owstats %s (-want +got):\n%s", args, d)
			}
		})
	}
}

// A document that is read again.
type readDocument struct {
	Schema, Program string
	Sessions        []readSession
}

type readSession struct {
	File string `json:"file"`
	stats.SessionDocument
	Damage *struct {
		RecordsUsed    int64 `json:"records_used"`
		RecordsLeftOut int64 `json:"records_left_out"`
		OctetsLeftOut  int64 `json:"octets_left_out"`
		Places         []struct {
			Offset int64 `json:"offset_octets"`
			What   string
		}
	}
	Summary stats.SummaryDocument
	Parts   []stats.SummaryDocument
	Packets []stats.PacketDocument
}

// document runs the program and reads the document that it prints.
func document(t testing.TB, wantCode int, args ...string) *readDocument {
	t.Helper()
	code, stdout, stderr := owstats(t, append([]string{"--json"}, args...)...)
	if code != wantCode {
		t.Fatalf("owstats --json %v: exit code %d, %s; want %d", args, code, stderr, wantCode)
	}
	var d readDocument
	if err := json.Unmarshal([]byte(stdout), &d); err != nil {
		t.Fatalf("owstats --json %v: %v\n%s", args, err, stdout)
	}
	if d.Schema != report.Schema || d.Program != "owstats" {
		t.Errorf("schema %q of program %q", d.Schema, d.Program)
	}
	return &d
}

// machine is what -M -U would print of a document, without names and in
// ascending order of buckets.
func machine(s *readSession, d *stats.SummaryDocument) string {
	var b strings.Builder
	line := func(key string, v any) { fmt.Fprintf(&b, "%s\t%v\n", key, v) }
	six := func(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
	real := func(key string, v *float64) {
		if v != nil {
			line(key, six(*v))
		}
	}
	bit := func(v bool) int {
		if v {
			return 1
		}
		return 0
	}
	line("SUMMARY", "3.00")
	line("SID", s.SID)
	line("FROM_ADDR", s.Sender.Address)
	line("FROM_PORT", s.Sender.Port)
	line("TO_ADDR", s.Receiver.Address)
	line("TO_PORT", s.Receiver.Port)
	line("START_TIME", d.StartNTP)
	line("END_TIME", d.EndNTP)
	line("UNIX_START_TIME", fmt.Sprintf("%.6f", *d.StartUnix))
	line("UNIX_END_TIME", fmt.Sprintf("%.6f", *d.EndUnix))
	line("DSCP", fmt.Sprintf("0x%02x", *s.DSCP))
	line("LOSS_TIMEOUT", uint64(s.TimeoutSeconds*(1<<32)))
	line("PACKET_PADDING", s.PaddingOctets)
	line("SESSION_PACKET_COUNT", s.SessionDocument.Packets)
	line("SAMPLE_PACKET_COUNT", d.Packets)
	line("BUCKET_WIDTH", six(d.WidthSeconds))
	line("SESSION_FINISHED", bit(s.State == "finished"))
	line("SENT", d.Received+d.Lost)
	synchronized, maxError := true, 0.0 // what the text says of nothing
	if d.Synchronized != nil {
		synchronized, maxError = *d.Synchronized, *d.MaxErrorSeconds
	}
	line("SYNC", bit(synchronized))
	line("MAXERR", six(maxError))
	line("DUPS", d.Duplicates)
	line("LOST", d.Lost)
	real("MIN", d.MinSeconds)
	real("MEDIAN", d.MedianSeconds)
	real("MAX", d.MaxSeconds)
	real("PDV", d.VariationSeconds)
	for _, bucket := range d.Buckets {
		line("", fmt.Sprintf("%d\t%d", bucket.Bucket, bucket.Packets))
	}
	least, most := 255, 0
	if d.MaxHops != nil {
		least, most = 255-*d.MaxHops, 255-*d.MinHops
	}
	line("MINTTL", least)
	line("MAXTTL", most)
	for _, ttl := range d.TTLs {
		line("", fmt.Sprintf("%d\t%d", ttl.TTL, ttl.Packets))
	}
	for _, n := range d.Reordering {
		line("", fmt.Sprintf("%d\t%d", n.N, n.Packets))
	}
	return b.String()
}

// comparableSummary brings what -M prints into the form of machine.
func comparableSummary(text string) string {
	var out, buckets []string
	inside := false
	for line := range strings.Lines(text) {
		switch {
		case strings.HasPrefix(line, "FROM_HOST"), strings.HasPrefix(line, "TO_HOST"), line == "\n":
		case line == "<BUCKETS>\n":
			inside = true
		case line == "</BUCKETS>\n":
			inside = false
			slices.SortFunc(buckets, func(a, b string) int { return number(a) - number(b) })
			out = append(out, buckets...)
		case inside:
			buckets = append(buckets, line)
		case strings.HasPrefix(line, "<"), strings.HasSuffix(line, "\t0\n") && line[0] == '\t':
		default:
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

func number(line string) int {
	n, _ := strconv.Atoi(strings.Split(line, "\t")[1])
	return n
}

// All numbers of documents are those of -M and -R, of all files of the
// reference.
func TestDocumentsAgree(t *testing.T) {
	for _, path := range files(t, ".owp") {
		for _, width := range []string{"0.0001", "0.001"} {
			d := document(t, 0, "-U", "-v", "-N", "70", "-b", width, path)
			s := &d.Sessions[0]
			_, text, _ := owstats(t, "-M", "-U", "-b", width, path)
			if diff := cmp.Diff(comparableSummary(text), machine(s, &s.Summary)); diff != "" {
				t.Errorf("%s (--M +--json):\n%s", path, diff)
			}
			_, text, _ = owstats(t, "-M", "-U", "-N", "70", "-b", width, path)
			for i, part := range strings.Split(text, "SUMMARY\t3.00\n")[1:] {
				if diff := cmp.Diff(comparableSummary("SUMMARY\t3.00\n"+part), machine(s, &s.Parts[i])); diff != "" {
					t.Errorf("%s, part %d (--M +--json):\n%s", path, i, diff)
				}
			}
			checkStates(t, path, s)
			checkRaw(t, path, s)
		}
	}
}

// checkStates checks that each packet has one state, in the whole and in the
// parts.
func checkStates(t *testing.T, path string, s *readSession) {
	t.Helper()
	var parts stats.SummaryDocument
	for _, p := range append(slices.Clone(s.Parts), s.Summary) {
		if uint64(p.Received)+uint64(p.Lost)+p.NotSent+p.NotCovered != uint64(p.Packets) {
			t.Errorf("%s: of %d packets %d received, %d lost, %d not sent, %d not covered", path, p.Packets, p.Received, p.Lost, p.NotSent, p.NotCovered)
		}
	}
	for _, p := range s.Parts {
		parts.Packets += p.Packets
		parts.Received += p.Received
		parts.Lost += p.Lost
		parts.NotSent += p.NotSent
		parts.NotCovered += p.NotCovered
		parts.Duplicates += p.Duplicates
	}
	whole := s.Summary
	if parts.Packets != whole.Packets || parts.Received != whole.Received || parts.Lost != whole.Lost || parts.NotSent != whole.NotSent || parts.NotCovered != whole.NotCovered || parts.Duplicates != whole.Duplicates {
		t.Errorf("%s: the parts %+v do not make the whole %+v", path, parts, whole)
	}
	states := make(map[string]uint32)
	for _, p := range s.Packets {
		states[p.State]++
	}
	want := map[string]uint32{"received": whole.Received, "lost": whole.Lost, "duplicate": whole.Duplicates}
	maps.DeleteFunc(want, func(_ string, n uint32) bool { return n == 0 })
	if diff := cmp.Diff(want, states); diff != "" {
		t.Errorf("%s: states of packets (-summary +packets):\n%s", path, diff)
	}
}

// checkRaw checks the packets of a document against -R, which has those as well
// that were not sent.
func checkRaw(t *testing.T, path string, s *readSession) {
	t.Helper()
	_, text, _ := owstats(t, "-R", path)
	raw := slices.Collect(strings.Lines(text))
	bit := func(v bool) int {
		if v {
			return 1
		}
		return 0
	}
	six := func(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
	at := 0
	for _, p := range s.Packets {
		sync, sentError, recv, ttl := false, "2.32831e-10", strings.Repeat("0", 20), uint8(255)
		if p.State != "lost" {
			sync, sentError, recv, ttl = *p.SentSynchronized, six(*p.SentErrorSeconds), *p.ReceivedNTP, *p.TTL
		}
		line := fmt.Sprintf("%d %s %d %s %s %d %s %d\n", p.Packet, p.SentNTP, bit(sync), sentError, recv, bit(p.ReceivedSynchronized), six(p.ReceivedErrorSeconds), ttl)
		for at < len(raw) && raw[at] != line {
			at++
		}
		if at++; at > len(raw) {
			t.Fatalf("%s: -R has no line %q", path, line)
		}
	}
	if skipped := len(raw) - len(s.Packets); skipped != 0 && len(s.NotSent) == 0 {
		t.Errorf("%s: %d packets, -R has %d lines", path, len(s.Packets), len(raw))
	}
}

// The metrics of RFC 8912 are those of first copies that arrived, each with its
// own definition.
func TestRFC8912(t *testing.T) {
	for _, path := range files(t, ".owp") {
		s := &document(t, 0, "-v", path).Sessions[0]
		m := s.Summary.RFC8912
		var delays []float64
		for _, p := range s.Packets {
			if p.State == "received" {
				delays = append(delays, *p.DelaySeconds)
			}
		}
		if len(delays) == 0 {
			if m.DelayMin != nil || m.DelayMean != nil || m.DelayStdDev != nil || m.DelayP95 != nil || m.PDVP95 != nil {
				t.Errorf("%s: %+v of nothing", path, m)
			}
			continue
		}
		slices.Sort(delays)
		var mean float64
		for _, d := range delays {
			mean += d / float64(len(delays))
		}
		const rounding = 1e-6 // of the packets' delays
		near := func(what string, got, want, off float64) {
			if got < want-off || got > want+off {
				t.Errorf("%s: %s %g, want %g", path, what, got, want)
			}
		}
		p95 := delays[(95*len(delays)+99)/100-1]
		width := s.Summary.WidthSeconds
		near("least", *m.DelayMin, delays[0], rounding)
		near("greatest", *m.DelayMax, delays[len(delays)-1], rounding)
		near("mean", *m.DelayMean, mean, rounding)
		near("95th percentile", *m.DelayP95, p95, width+rounding)
		near("95th percentile of delay variation", *m.PDVP95, p95-delays[0], width+rounding)
		near("loss", *m.LossRatio, 100*float64(s.Summary.Lost)/float64(s.Summary.Lost+s.Summary.Received), 1e-9)
	}
}

func TestDocumentRefuses(t *testing.T) {
	const file = "testdata/golden/one-packet/c2s.owp"
	for args, want := range map[string]string{
		"-M":   "options --json and -M: want one of them: the document is for programs",
		"-R":   "options --json and -R: want one of them: it has the records with -v",
		"-Q":   "options --json and -Q: want one of them: it goes to standard output",
		"-p":   "options --json and -p: want one of them: it goes to standard output",
		"-d x": "options --json and -d: want one of them: it goes to standard output",
		"-n u": "options --json and -n: want one of them: its units are in its keys",
	} {
		code, stdout, stderr := owstats(t, append(strings.Fields(args), "--json", file)...)
		if code != 1 || stdout != "" || stderr != "owstats: "+want+"\n" {
			t.Errorf("owstats --json %s: exit code %d, %q, %q; want 1, %q", args, code, stdout, stderr, want)
		}
	}
}

// A file that cannot be read leaves a document that is whole, of those before
// it.
func TestDocumentOfSomeFiles(t *testing.T) {
	const file = "testdata/golden/one-packet/c2s.owp"
	if d := document(t, 1, file, "main_test.go", file); len(d.Sessions) != 1 || d.Sessions[0].File != file {
		t.Errorf("%+v, want the first file's", d.Sessions)
	}
	if code, stdout, stderr := owstats(t, "--json", "main_test.go"); code != 1 || stdout != "" || !strings.HasPrefix(stderr, "owstats: main_test.go: octet 0: ") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}

// Without its TTLs or its end a session says so.
func TestDocumentOfIncompleteSession(t *testing.T) {
	for _, path := range files(t, ".owp") {
		f, err := owp.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		h := *f.Header()
		f.Close()
		s := &document(t, 0, path).Sessions[0]
		switch {
		case h.Finished == owp.Normal && (s.State != "finished" || s.NextPacket == nil || *s.NextPacket != h.NextSeq):
			t.Errorf("%s: %s, next packet %v; want finished, %d", path, s.State, s.NextPacket, h.NextSeq)
		case h.Finished == owp.Incomplete && (s.State != "incomplete" || s.NextPacket != nil):
			t.Errorf("%s: %s, next packet %v; want incomplete, unknown", path, s.State, s.NextPacket)
		}
	}
}
