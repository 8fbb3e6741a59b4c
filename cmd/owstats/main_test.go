package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/owamp"
	"owl/owamp/owp"
	"owl/owamp/schedule"
	"owl/owamp/stats"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // the golden reports' zone
	os.Exit(m.Run())
}

// owstats runs the program with numeric names.
func owstats(t testing.TB, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	numeric := func(name string) string {
		if name == "OWL_NUMERIC" {
			return "1"
		}
		return ""
	}
	code = run(t.Context(), append([]string{"owstats"}, args...), numeric, &out, &errs)
	return code, out.String(), errs.String()
}

// files returns the golden files of a suffix.
func files(t *testing.T, suffix string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir("testdata/golden", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, suffix) {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files *%s: %v", suffix, err)
	}
	return paths
}

// What the reference printed of its own files.
func TestGolden(t *testing.T) {
	compared := 0
	for suffix, args := range map[string]string{
		".M.b0.0001.sum":    "-M -b 0.0001",
		".M.b0.001.sum":     "-M -b 0.001",
		".M.b0.00001.sum":   "-M -b 0.00001",
		".M.U.sum":          "-M -U",
		".R.txt":            "-R",
		".human.txt":        "",
		".human-us-pct.txt": "-a 0,25,50,90,95,99,100 -n u -b 0.00005",
		".human-v.txt":      "-v -n m",
		".human-v-U-ns.txt": "-v -U -n n",
		".human.v7.txt":     "-v7",
		".human.s.txt":      "-n s",
		".human.N70.txt":    "-N 70",
		".M.N50.sum":        "-M -N 50",
	} {
		for _, path := range files(t, suffix) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			file := strings.TrimSuffix(path, suffix) + ".owp"
			code, got, stderr := owstats(t, append(strings.Fields(args), file)...)
			if code != 0 || stderr != "" {
				t.Errorf("owstats %s %s: exit code %d, %s", args, file, code, stderr)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("owstats %s %s (-want +got):\n%s", args, file, d)
			}
			compared++
		}
	}
	if compared != 284 {
		t.Errorf("%d outputs compared, want 284", compared)
	}
}

// What the reference's powstream wrote beside its files: summaries of whole
// sessions and of parts of them. It rounds no bucket width, and knew of no
// names.
func TestGoldenPowstream(t *testing.T) {
	sessions := make(map[string]string) // SID to .owp file
	for _, path := range files(t, ".owp") {
		f, err := owp.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		sessions[filepath.Dir(path)+f.Header().Spec.SID.String()] = path
		f.Close()
	}
	whole, parts := 0, 0
	for _, path := range files(t, ".sum") {
		if !strings.Contains(path, "powstream") {
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var key struct {
			sid        string
			start      owamp.Timestamp
			packets, n uint32
			width      float64
			finished   int
		}
		values := make(map[string]string)
		for line := range strings.Lines(string(want)) {
			k, v, _ := strings.Cut(strings.TrimSpace(line), "\t")
			values[k] = v
		}
		key.sid = values["SID"]
		if _, err := fmt.Sscan(values["START_TIME"]+" "+values["SESSION_PACKET_COUNT"]+" "+values["SAMPLE_PACKET_COUNT"]+" "+values["BUCKET_WIDTH"]+" "+values["SESSION_FINISHED"],
			&key.start, &key.packets, &key.n, &key.width, &key.finished); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		file, ok := sessions[filepath.Dir(path)+key.sid]
		if !ok {
			continue // the session was lost after this part
		}
		f, err := owp.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		first := indexOf(t, &f.Header().Spec, key.start)
		_, unix := values["UNIX_START_TIME"]
		// Whether a session has ended, when its parts are summarized, is
		// not in the file any more.
		sum, err := stats.Summarize(&stats.Session{Spec: f.Header().Spec, Finished: key.finished == 1, Skips: f.Skips()}, f.Batches(0), stats.Options{BucketWidth: key.width, First: first, Last: first + key.n})
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if d := cmp.Diff(string(want), string(sum.AppendMachine(nil, stats.Names{From: "***", To: "***"}, unix))); d != "" {
			t.Errorf("%s (-want +got):\n%s", path, d)
		}
		if key.n == key.packets {
			whole++
		} else {
			parts++
		}
	}
	t.Logf("%d summaries of sessions and %d of parts", whole, parts)
	if whole < 20 || parts < 20 {
		t.Errorf("%d summaries of sessions and %d of parts compared, want at least 20 of each", whole, parts)
	}
}

// indexOf returns the packet that is scheduled at t0.
func indexOf(t *testing.T, spec *owamp.SessionSpec, t0 owamp.Timestamp) uint32 {
	t.Helper()
	g, err := schedule.New(spec.SID, spec.Slots)
	if err != nil {
		t.Fatal(err)
	}
	at := spec.Start
	for i := range spec.Packets {
		if at = at.Add(g.Next()); at == t0 {
			return i
		}
	}
	t.Fatalf("no packet of %v is scheduled at %d", spec.SID, t0)
	return 0
}

func TestArguments(t *testing.T) {
	const file = "testdata/golden/one-packet/c2s.owp"
	for _, tt := range []struct {
		args   string
		code   int
		stdout string // a part of it
		stderr string // its first line
	}{
		{"-h", 0, "usage: owstats [arguments] sessionfile [sessionfile]*", ""},
		{"--help", 0, "usage: owstats [arguments] sessionfile [sessionfile]*", ""},
		{"--version", 0, "owstats (Owl) ", ""},
		{"", 1, "", "owstats: no session file given"},
		{"-x " + file, 1, "", "owstats: unknown option -x"},
		{"-b", 1, "", "owstats: option -b needs an argument"},
		{"-b 0 " + file, 1, "", `owstats: option -b: bucket width "0": want a number of seconds above 0`},
		{"-b 1e-60 " + file, 1, "", `owstats: option -b: bucket width "1e-60": want a number of seconds above 0`},
		{"-b inf " + file, 1, "", `owstats: option -b: bucket width "inf": want a number of seconds above 0`},
		{"-b nan " + file, 1, "", `owstats: option -b: bucket width "nan": want a number of seconds above 0`},
		{"-b 1ms " + file, 1, "", `owstats: option -b: bucket width "1ms": want a number of seconds above 0`},
		{"-n x " + file, 1, "", `owstats: option -n: unit "x": want n, u, m or s`},
		{"-N -1 " + file, 1, "", `owstats: option -N: "-1": want a number of packets`},
		{"-vx " + file, 1, "", `owstats: option -v: "x": want a number of records`},
		{"-a 50,x " + file, 1, "", `owstats: option -a: percentile "x": want a number from 0 to 100`},
		{"-a 101 " + file, 1, "", `owstats: option -a: percentile "101": want a number from 0 to 100`},
		{"-a nan " + file, 1, "", `owstats: option -a: percentile "nan": want a number from 0 to 100`},
		{"-v -Q " + file, 0, "1 sent", "owstats: Ignoring '-v', '-Q' set"},
		{"-MQ " + file, 0, "1 sent", "owstats: Ignoring '-M', '-Q' set"},
		{"-v -M " + file, 0, "SENT\t1\n", "owstats: Ignoring '-v', '-M' set"},
		{"-RM " + file, 0, "0 17198", "owstats: Ignoring '-M', '-Q' set"},
		{"-d /nowhere " + file, 0, "1 sent", "owstats: Ignoring '-d', '-p' not set"},
		{"-f -t -T x " + file, 0, "1 sent", ""},
		{file + " -M", 0, "SENT\t1\n", ""},
		{"-N 0 " + file, 0, "1 sent", ""},
		{"-v0 " + file, 0, "1 sent", ""},
		{"-p -d testdata/nowhere " + file, 1, "", "owstats: " + file + ": open testdata/nowhere/"},
		{"testdata/nowhere.owp", 1, "", "owstats: open testdata/nowhere.owp: no such file or directory"},
		{"-- -M", 1, "", "owstats: open -M: no such file or directory"},
		{file + " testdata/nowhere.owp " + file, 1, "1 sent", "owstats: open testdata/nowhere.owp: no such file or directory"},
		{"main_test.go", 1, "", "owstats: main_test.go: octet 0: "},
		{"testdata", 1, "", "owstats: "},
	} {
		code, stdout, stderr := owstats(t, strings.Fields(tt.args)...)
		first, _, _ := strings.Cut(stderr, "\n")
		if code != tt.code || !strings.Contains(stdout, tt.stdout) || tt.stdout == "" && stdout != "" || !strings.HasPrefix(first, tt.stderr) || tt.stderr == "" && stderr != "" {
			t.Errorf("owstats %s: exit code %d, %q, %q; want %d, %q, %q", tt.args, code, stdout, first, tt.code, tt.stdout, tt.stderr)
		}
	}
}

func TestSeveralFiles(t *testing.T) {
	const a, b = "testdata/golden/one-packet/c2s", "testdata/golden/loss10/s2c"
	code, got, _ := owstats(t, "-M", a+".owp", b+".owp")
	var want []byte
	for _, f := range []string{a, b} {
		text, err := os.ReadFile(f + ".M.b0.0001.sum")
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, text...)
	}
	if d := cmp.Diff(string(want), got); code != 0 || d != "" {
		t.Errorf("exit code %d (-want +got):\n%s", code, d)
	}
}

func TestFilesOfSummaries(t *testing.T) {
	const session = "testdata/golden/loss10/s2c"
	dir := t.TempDir()
	for _, args := range []string{"-M -N 50", "-N 70", "-v7", "-M"} {
		code, names, stderr := owstats(t, append(strings.Fields(args), "-p", "-d", dir, session+".owp")...)
		if code != 0 || stderr != "" {
			t.Fatalf("%s: exit code %d, %s", args, code, stderr)
		}
		var got []byte
		for name := range strings.Lines(names) {
			name = strings.TrimSpace(name)
			if want := ".txt"; strings.Contains(args, "-M") == strings.HasSuffix(name, want) || filepath.Dir(name) != dir || len(filepath.Base(name)) != 20+1+20+4 {
				t.Errorf("%s: file name %s", args, name)
			}
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o644 {
				t.Errorf("%s: %v, %v", name, info.Mode(), err)
			}
			got = append(got, text...)
		}
		_, want, _ := owstats(t, append(strings.Fields(args), session+".owp")...)
		if d := cmp.Diff(want, string(got)); d != "" {
			t.Errorf("%s: files and standard output differ (-want +got):\n%s", args, d)
		}
	}
	// Nothing is left over, and the files of a second run replace the first's.
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s is left over", e.Name())
		}
	}
	if want := 4 + 3 + 1 + 1; len(entries) != want {
		t.Errorf("%d files, want %d", len(entries), want)
	}
}

// A file of no name of its own is printed in the current directory.
func TestFilesInCurrentDirectory(t *testing.T) {
	file, err := filepath.Abs("testdata/golden/one-packet/c2s.owp")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	code, name, stderr := owstats(t, "-p", file)
	if code != 0 || strings.ContainsRune(name, filepath.Separator) {
		t.Errorf("exit code %d, file name %q, %s", code, name, stderr)
	}
	if _, err := os.Stat(strings.TrimSpace(name)); err != nil {
		t.Error(err)
	}
}

func TestDamagedFiles(t *testing.T) {
	good, err := os.ReadFile("testdata/golden/loss10/s2c.owp")
	if err != nil {
		t.Fatal(err)
	}
	const data = 184 // where its records begin
	path := filepath.Join(t.TempDir(), "damaged.owp")
	try := func(b []byte, args ...string) string {
		t.Helper()
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := owstats(t, append(args, path)...)
		if code != 1 || !strings.HasPrefix(stderr, "owstats: "+path+": octet ") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("exit code %d, %q; want 1 and one line with the file and an offset", code, stderr)
		}
		return stderr
	}
	for _, n := range []int{0, 3, 16, 100, 160, 183, data + 24, data + 25, len(good) - 1} {
		try(good[:n])
		try(good[:n], "-R")
	}
	// The file's second record becomes another copy of the last one lost.
	swapped := bytes.Clone(good)
	lost := -1
	for o := data; o < len(good); o += 25 {
		if bytes.Equal(good[o+16:o+24], make([]byte, 8)) {
			lost = o
		}
	}
	copy(swapped[data+25:data+50], good[lost:lost+25])
	if got := try(swapped); !strings.Contains(got, "octet 234: record 2, ") || !strings.Contains(got, "is damaged: ") {
		t.Errorf("%q, want the offset of the record that contradicts, 234", got)
	}
	// That copy is where the part of packet 150 begins.
	if got := try(swapped, "-N", "50"); !strings.Contains(got, "octet 3559: record 135, ") {
		t.Errorf("%q, want the offset of the record that contradicts, 3559", got)
	}
}

// inVersion2 returns a file of one slot as version 2 has it.
func inVersion2(t testing.TB, path string) []byte {
	t.Helper()
	v3, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b := append([]byte("OwA\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\xa4"), v3[8:12]...)
	b = append(b, v3[40:184]...)
	f, err := owp.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r, err := range f.Records() {
		if err != nil {
			t.Fatal(err)
		}
		b = binary.BigEndian.AppendUint32(b, r.Seq)
		b = binary.BigEndian.AppendUint64(b, uint64(r.Sent))
		b = binary.BigEndian.AppendUint16(b, uint16(r.SentErr))
		b = binary.BigEndian.AppendUint64(b, uint64(r.Recv))
		b = binary.BigEndian.AppendUint16(b, uint16(r.RecvErr))
	}
	return b
}

// A file of version 2 says what one of version 3 does, but for the TTLs.
func TestVersion2(t *testing.T) {
	const name = "testdata/golden/loss10/s2c"
	path := filepath.Join(t.TempDir(), "old.owp")
	if err := os.WriteFile(path, inVersion2(t, name+".owp"), 0o644); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name + ".M.b0.0001.sum")
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`(?s)MINTTL.*</TTLBUCKETS>\n`).ReplaceAllString(string(text), "MINTTL\t255\nMAXTTL\t255\n<TTLBUCKETS>\n\t255\t177\n</TTLBUCKETS>\n")
	code, got, stderr := owstats(t, "-M", path)
	if d := cmp.Diff(want, got); code != 0 || d != "" {
		t.Errorf("exit code %d, %s (-want +got):\n%s", code, stderr, d)
	}
}

// A file of version 0 knows nothing of its session, and has records all the
// same.
func TestVersion0(t *testing.T) {
	b := append([]byte("OwA\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10"),
		0, 0, 0, 9, // sequence number
		0xee, 0xab, 0xa6, 0x40, 0, 0, 0, 0, 0x80, 1, // sent
		0xee, 0xab, 0xa6, 0x40, 0x80, 0, 0, 0, 0, 1) // received
	path := filepath.Join(t.TempDir(), "old.owp")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := owstats(t, path); code != 1 || stderr != "owstats: "+path+": version 0 says nothing of its session: want 2 or 3 (-R prints its records)\n" {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	if code, stdout, stderr := owstats(t, "-R", path); code != 0 || stdout != "9 17198022395852488704 1 2.32831e-10 17198022397999972352 0 2.32831e-10 255\n" {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	code := run(ctx, []string{"owstats", "-R", "testdata/golden/loss10/s2c.owp"}, func(string) string { return "1" }, &out, &errs)
	if want := "owstats: testdata/golden/loss10/s2c.owp: interrupted\n"; code != 1 || errs.String() != want {
		t.Errorf("exit code %d, %q, want 1, %q", code, errs.String(), want)
	}
}

// fullDisk takes nothing.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, fmt.Errorf("no space left on device") }

func TestOutputFails(t *testing.T) {
	for _, arg := range []string{"-R", "-M", "-v", "-p"} {
		var errs bytes.Buffer
		args := []string{"owstats", arg, "testdata/golden/loss10/s2c.owp"}
		if arg == "-p" {
			args = append(args, "-d", t.TempDir())
		}
		code := run(t.Context(), args, func(string) string { return "1" }, fullDisk{}, &errs)
		if code != 1 || !strings.Contains(errs.String(), "no space left on device") || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%s: exit code %d, %q", arg, code, errs.String())
		}
	}
}

func BenchmarkOwstats(b *testing.B) {
	const packets = 500_000
	path := network{packets: packets, interval: 0.001, timeout: 2, loss: 0.01, duplicate: 0.01, displace: 0.01}.record(b, rand.New(rand.NewPCG(1, 1)))
	for _, args := range []string{"-M", "-R", "-v", "-M -N 1000"} {
		b.Run(args, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				code := run(b.Context(), append(append([]string{"owstats"}, strings.Fields(args)...), path), func(string) string { return "1" }, discard{}, os.Stderr)
				if code != 0 {
					b.Fatalf("exit code %d", code)
				}
			}
			b.ReportMetric(packets*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
