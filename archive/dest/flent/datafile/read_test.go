package datafile

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestReadOthers: of files that Flent, and others, have written there is to say
// what Flent says of them (testdata/README.md).
func TestReadOthers(t *testing.T) {
	t.Parallel()
	stats, err := filepath.Glob("testdata/*.stats")
	if err != nil || len(stats) != 4 {
		t.Fatalf("%d files, %v", len(stats), err)
	}
	for _, path := range stats {
		f, err := os.Open(strings.TrimSuffix(path, ".stats") + ".flent.gz")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		d, err := Read(f)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, s := range d.Series {
			_, part, ok := strings.Cut(string(text), "\n "+s.Name+":\n")
			if !ok {
				t.Errorf("%s: Flent knows of no %q", path, s.Name)
				continue
			}
			seen++
			part, _, _ = strings.Cut(part, ":\n  ")
			if s.Mean == 0 && strings.HasPrefix(part, "  No data") {
				continue
			}
			for name, v := range map[string]float64{"Data points": float64(s.Points), "Min": s.Min, "Median": s.Median, "99th %": s.P99, "Max": s.Max, "Std dev": s.Deviation} {
				m := regexp.MustCompile(`(?m)^  ` + name + `: +(\S+)`).FindStringSubmatch(part)
				if m == nil {
					t.Errorf("%s: %s: Flent says no %s", path, s.Name, name)
					continue
				}
				if want, err := strconv.ParseFloat(m[1], 64); err != nil || math.Abs(v-want) > 1.1e-6 {
					t.Errorf("%s: %s: %s %v, Flent says %s", path, s.Name, name, v, m[1])
				}
			}
		}
		// Flent makes up VoIP::induced_delay where it is missing.
		if n := strings.Count(string(text), "Data points:"); n-seen > 1 || seen == 0 {
			t.Errorf("%s: %d series, Flent knows of %d", path, seen, n)
		}
	}
}

// packed returns text as a data file has it.
func packed(t testing.TB, text ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for _, s := range text {
		io.WriteString(z, s)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const (
	headText = `{"metadata": {"NAME": "ping"}, "version": 4, `
	goodText = headText + `"x_values": [0, 0.2], "results": {"a": [1, null]}, "raw_values": {"a": [{"t": 1, "val": 5}, {"t": 2, "val": null, "lost": true}]}}`
)

// TestReadForms: what Flent reads is read.
func TestReadForms(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		goodText,
		"\n\t " + goodText + "\n",
		strings.Replace(goodText, `"version": 4`, `"version": "4"`, 1),
		strings.Replace(goodText, `"version": 4`, `"version": null`, 1),
		strings.Replace(goodText, `"version": 4`, `"version": {"a": 1}, "other": [{"deep": [[[]]]}, "x", 5]`, 1),
		strings.Replace(goodText, `"val": 5`, `"val": 5, "nested": {"a": [1, "]}"]}`, 1),
	} {
		for _, b := range [][]byte{[]byte(text), packed(t, text)} {
			d, err := Read(bytes.NewReader(b))
			if err != nil || d.Steps != 2 || len(d.Series) != 1 {
				t.Errorf("%s: %+v, %v", text, d, err)
				continue
			}
			if s := d.Series[0]; s.Points != 1 || s.Lost != 1 || s.Median != 5 || !s.Raw || d.Text("NAME") != "ping" {
				t.Errorf("%s: %+v", text, s)
			}
			m, err := ReadMetadata(bytes.NewReader(b))
			if err != nil || m["NAME"] != "ping" {
				t.Errorf("%s: metadata %v, %v", text, m, err)
			}
		}
	}
	// Without single values the table counts.
	d, err := Read(strings.NewReader(headText + `"x_values": [0, 0.2], "results": {"a": [1, null], "b": [null, null]}}`))
	if err != nil || d.Series[0].Points != 1 || d.Series[0].Median != 1 || d.Series[1].Points != 0 || d.Series[1].Lost != -1 {
		t.Errorf("%+v, %v", d, err)
	}
}

// TestReadRefuses: what is no data file costs one line, and little memory.
func TestReadRefuses(t *testing.T) {
	small := bounds{octets: 4 << 20, piece: 1 << 16, metadata: 1 << 20, depth: 32, values: 1 << 16, series: 1 << 10}
	for name, c := range map[string]struct {
		text []string
		want string
	}{
		"empty":       {nil, "ends too early"},
		"text":        {[]string{"hello"}, "octet 0 of the JSON: invalid character"},
		"an array":    {[]string{"[]"}, "octet 1 of the JSON: the file: want an object"},
		"nothing":     {[]string{"{}"}, "want the members results, x_values and metadata"},
		"torn":        {[]string{goodText[:100]}, "ends too early"},
		"more":        {[]string{goodText, "{"}, "more behind the JSON value"},
		"new":         {[]string{strings.Replace(goodText, `"version": 4`, `"version": 5`, 1)}, "version 5 of the format: want 1 to 4"},
		"version":     {[]string{`{"version": [`, strings.Repeat("[],", 2<<20)}, "more than 4194304 octets without compression"},
		"metadata":    {[]string{`{"metadata": [`, strings.Repeat("1,", 100), `1]}`}, "metadata: want an object"},
		"results":     {[]string{headText, `"results": [1]}`}, "results: want an object"},
		"a series":    {[]string{headText, `"results": {"a": {}}}`}, "a: want an array"},
		"a value":     {[]string{headText, `"results": {"a": ["x"]}}`}, "a: want a number or null"},
		"a number":    {[]string{headText, `"results": {"a": [1e999]}}`}, "value out of range"},
		"raw":         {[]string{headText, `"raw_values": {"a": [5]}}`}, "a: want objects"},
		"raw number":  {[]string{headText, `"raw_values": {"a": [{"val": 1e999}]}}`}, "value out of range"},
		"lengths":     {[]string{headText, `"x_values": [0], "results": {"a": [1, 2]}}`}, `series "a" has 2 values, x_values 1: want as many`},
		"deep":        {[]string{headText, `"x": `, strings.Repeat("[", 1<<20)}, "more than 32 levels"},
		"deep raw":    {[]string{headText, `"raw_values": {"a": [`, strings.Repeat(`{"a":`, 1<<20)}, "more than 32 levels"},
		"long name":   {[]string{`{"`, strings.Repeat("x", 2<<20)}, "a value of more than 65536 octets"},
		"long string": {[]string{headText, `"raw_values": {"a": [{"x": "`, strings.Repeat(`\"`, 1<<20)}, "a value of more than 65536 octets"},
		"long number": {[]string{headText, `"x_values": [`, strings.Repeat("1", 2<<20)}, "a value of more than 65536 octets"},
		"white":       {[]string{headText, strings.Repeat(" ", 2<<20)}, "a value of more than 65536 octets"},
		"an entry":    {[]string{headText, `"raw_values": {"a": [{"x": [`, strings.Repeat("0,", 1<<20)}, "a value of more than 65536 octets"},
		"bomb":        {[]string{headText, `"results": {"a": [`, strings.Repeat("0,", 1<<20)}, "more than 65536 values"},
		"series":      {[]string{headText, `"x_values": [], "results": {`, manySeries(1<<10 + 1), `}}`}, "more than 1024 series"},
		"facts":       {[]string{`{"metadata": {"a": [`, strings.Repeat("0,", 1<<20), "0]}}"}, "a value of more than 1048576 octets"},
		"endless":     {[]string{headText, `"x": [`, strings.Repeat("[],", 2<<20)}, "more than 4194304 octets without compression"},
	} {
		b := packed(t, c.text...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := readBounded(bytes.NewReader(b), small)
		runtime.ReadMemStats(&after)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		// All that was taken, though not at once: slices that grow, and tokens. Of
		// the endless one there are seven million.
		if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 64 && name != "endless" && name != "version" {
			t.Errorf("%s: took %d MiB", name, took)
		}
	}
	for name, b := range map[string][]byte{
		"nothing at all": nil, "gzip": []byte("\x1f\x8b"), "no gzip": []byte("\x1f\x8bxxxxxxxxxxxxxxx"), "torn gzip": packed(t, goodText)[:40],
		"bzip2": []byte("BZh9xxxxxxxxxx"), "zero": make([]byte, 100),
	} {
		if _, err := Read(bytes.NewReader(b)); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := ReadMetadata(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: it has metadata", name)
		}
	}
	broken := errors.New("broken")
	if _, err := Read(io.MultiReader(strings.NewReader(goodText[:50]), &failing{broken})); !errors.Is(err, broken) {
		t.Errorf("a disk that fails: %v", err)
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func manySeries(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"%d":[],`, i)
	}
	return b.String() + `"x":[]`
}

// TestNames: names as Flent makes them.
func TestNames(t *testing.T) {
	at := time.Date(2026, 11, 21, 5, 16, 54, 893471999, time.Local)
	for _, c := range []struct{ test, title, suffix, want string }{
		{"voip", "real voip", Suffix, "voip-2026-11-21T051654.893471.real_voip.flent.gz"},
		{"ping", "", Suffix, "ping-2026-11-21T051654.893471.flent.gz"},
		{"ping", "a/b.c-Ü", OldSuffix, "ping-2026-11-21T051654.893471.a_b_c-_.json.gz"},
		{"ping", strings.Repeat("x", 1000), Suffix, "ping-2026-11-21T051654.893471." + strings.Repeat("x", 250-30-9) + ".flent.gz"},
	} {
		name := FileName(c.test, at, c.title, c.suffix)
		if name != c.want || len(name) > 250 {
			t.Errorf("%q, want %q", name, c.want)
		}
		if got, ok := NameTime(name, c.test); !ok || !got.Equal(at.Truncate(time.Microsecond)) {
			t.Errorf("%s: its time is %v", name, got)
		}
	}
	for _, name := range []string{"", "ping-", "ping-2026-11-21T051654.893471", "voip-2026-11-21T051654.893471.flent.gz", "ping-2026-11-21T0516xx.893471.flent.gz", "ping-2026-11-21T051654.893471.txt"} {
		if _, ok := NameTime(name, "ping"); ok {
			t.Errorf("%q has a time", name)
		}
	}
	got := strings.Join(Labels([]string{"2001:db8::1 to a", "a,b;c", "x", "x", "x 2", `"q" #\*?`, "\n"}), "|")
	if want := `2001-db8--1 to a|a_b_c|x|x 2|x 2 2|_q_ ____|_`; got != want {
		t.Errorf("labels %s, want %s", got, want)
	}
}

// FuzzRead: whatever a file has become, it is read or refused.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"min2", "real"} {
		b, err := os.ReadFile("testdata/" + name + ".flent.gz")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			f.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text[:min(len(text), 4000)])
	}
	f.Add([]byte(goodText))
	f.Add([]byte(headText + `"x_values":[0],"results":{"a":[1e308],"b":[-1e308]},"raw_values":{"a":[{"val":1e308},{"val":-1e308}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		for _, s := range d.Series {
			if s.Points > 0 && !(s.Min <= s.Median && s.Median <= s.P99 && s.P99 <= s.Max) {
				t.Errorf("%+v", s)
			}
		}
		if _, err := json.Marshal(d.Metadata); err != nil {
			t.Error(err)
		}
	})
}

// TestLongMetadata: a file of a day and many hosts says much of itself, and what
// is behind it is read as ever.
func TestLongMetadata(t *testing.T) {
	t.Parallel()
	long := strings.Repeat(`"`+strings.Repeat("x", 1000)+`", `, usual.piece/500)
	text := strings.Replace(goodText, `"NAME"`, `"OWAMP_RESULTS": [`+long+`"end"], "NAME"`, 1)
	text = strings.Replace(text, `"version": 4`, `"more": [`+long+long+`0], "version": 4`, 1)
	d, err := Read(strings.NewReader(text))
	if err != nil || d.Text("NAME") != "ping" || len(d.Series) != 1 {
		t.Error(err)
	}
}
