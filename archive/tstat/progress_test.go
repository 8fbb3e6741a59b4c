package tstat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A receiver is a transport that keeps what it has confirmed.
type receiver struct {
	mu     sync.Mutex
	slices []string
	// refuse, if there is one, says why a slice is not confirmed.
	refuse func(slice []byte) error
}

func (r *receiver) Send(_ context.Context, slice []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuse != nil {
		if err := r.refuse(slice); err != nil {
			return err
		}
	}
	r.slices = append(r.slices, string(slice))
	return nil
}

func (*receiver) Close() error { return nil }

// flows returns the objects that were confirmed.
func (r *receiver) flows(t testing.TB) (all []string) {
	t.Helper()
	for _, s := range r.slices {
		var objects []json.RawMessage
		if err := json.Unmarshal([]byte(s), &objects); err != nil {
			t.Fatal(err)
		}
		if len(objects) == 0 || len(objects) > perSlice {
			t.Errorf("a slice of %d", len(objects))
		}
		for _, o := range objects {
			all = append(all, string(o))
		}
	}
	return all
}

var errRefused = errors.New("refused")

// times returns what refuses the nth slice, counted from 1.
func times(n int) func([]byte) error {
	return func([]byte) error {
		if n--; n == 0 {
			return errRefused
		}
		return nil
	}
}

// noting are options with which progress is noted.
func noting(t testing.TB) *Options {
	o := options(t, 0)
	o.Forget, o.Log = false, discard
	return o
}

// hidden returns the names of tstat_send's own files below root.
func hidden(t *testing.T, root string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if strings.HasPrefix(e.Name(), ".") {
			all = append(all, strings.TrimPrefix(path, root+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

const allProcessed = "2016_02_17_12_53.out/.processed 2016_02_17_13_54.out/.processed 2016_02_17_14_54.out/.processed sub/2016_02_18_00_00.out/.processed"

// What was confirmed is not sent again, whichever slice fails.
func TestProgress(t *testing.T) {
	t.Parallel()
	var whole receiver
	if _, err := Send(t.Context(), copied(t, "tree"), &whole, noting(t)); err != nil {
		t.Fatal(err)
	}
	want := whole.flows(t)
	for n := 1; n <= len(whole.slices); n++ {
		root := copied(t, "tree")
		r := receiver{refuse: times(n)}
		total, err := Send(t.Context(), root, &r, noting(t))
		if !errors.Is(err, errRefused) || total.Slices != n-1 {
			t.Errorf("slice %d: %+v, %v", n, total, err)
		}
		if marks := hidden(t, root); len(r.slices) == 2 && marks != "2016_02_17_12_53.out/.processed 2016_02_17_13_54.out/.processing" {
			t.Errorf("slice %d: %s", n, marks)
		}
		r.refuse = nil
		if _, err := Send(t.Context(), root, &r, noting(t)); err != nil {
			t.Errorf("slice %d: %v", n, err)
		}
		if d := cmp.Diff(want, r.flows(t)); d != "" {
			t.Errorf("slice %d (-want +got):\n%.2000s", n, d)
		}
		if marks := hidden(t, root); marks != allProcessed {
			t.Errorf("slice %d: %s", n, marks)
		}
	}
}

// lines returns a TCP log of lines whose client ports are some numbers.
func lines(ports ...int) string {
	var b strings.Builder
	b.WriteString("c_ip c_port s_ip s_port c_bytes_uniq s_bytes_uniq c_pkts_data s_pkts_data durat first last\n")
	for _, p := range ports {
		fmt.Fprintf(&b, "10.0.0.1 %d 10.0.0.2 80 1000 2000 1 2 1.5 1455745857000.5 1455745858000\n", p)
	}
	return b.String()
}

// upTo returns numbers.
func upTo(from, to int) (all []int) {
	for i := from; i < to; i++ {
		all = append(all, i)
	}
	return all
}

// ports returns the ports of the clients of the flows that were confirmed, in
// their order.
func (r *receiver) ports(t testing.TB) (all []int) {
	t.Helper()
	for _, s := range r.slices {
		var flows []struct {
			Meta struct {
				Source int `json:"src_port"`
				Dest   int `json:"dst_port"`
			} `json:"meta"`
		}
		if err := json.Unmarshal([]byte(s), &flows); err != nil {
			t.Fatal(err)
		}
		for _, f := range flows {
			all = append(all, f.Meta.Source*f.Meta.Dest/80)
		}
	}
	return all
}

// directory makes a directory with a TCP log.
func directory(t testing.TB, text string) (root, path string) {
	t.Helper()
	root = folder(t)
	path = filepath.Join(root, "a.out", tcp.logName())
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, path, text)
	return root, path
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// twice returns each number twice, as each line has two directions.
func twice(all []int) (doubled []int) {
	for _, n := range all {
		doubled = append(doubled, n, n)
	}
	return doubled
}

// A log that has changed since a part of it was sent: what was appended is sent,
// and all of another log.
func TestChanged(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, after []int // lines
		want          []int // ports, of the second run
	}{
		"same":      {upTo(1, 101), upTo(1, 101), upTo(51, 101)},
		"grown":     {upTo(1, 101), upTo(1, 301), upTo(51, 301)},
		"another":   {upTo(1, 101), upTo(1001, 1101), upTo(1001, 1101)},
		"cut":       {upTo(1, 101), upTo(1, 21), upTo(1, 21)},
		"cut there": {upTo(1, 101), upTo(1, 51), nil},
		"empty":     {upTo(1, 101), nil, nil},
	} {
		root, path := directory(t, lines(c.before...))
		r := receiver{refuse: times(2)}
		if _, err := Send(t.Context(), root, &r, noting(t)); !errors.Is(err, errRefused) {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(twice(upTo(1, 51)), r.ports(t)); d != "" {
			t.Errorf("%s, first run (-want +got):\n%s", name, d)
		}
		write(t, path, lines(c.after...))
		var second receiver
		if _, err := Send(t.Context(), root, &second, noting(t)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(twice(c.want), second.ports(t)); d != "" {
			t.Errorf("%s, second run (-want +got):\n%s", name, d)
		}
	}
}

// The log may grow while one run after the other fails, and a slice may end
// between the directions of a line: nothing is sent twice or left out.
func TestGrowing(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(3, 4))
	rounds := 3
	if !testing.Short() {
		rounds = 30
	}
	for range rounds {
		root, path := directory(t, lines())
		var r receiver
		n := 1
		for i := range 6 {
			n += random.IntN(200)
			// Of the first line one direction is too small.
			write(t, path, strings.Replace(lines(upTo(1, n)...), "1000 2000 1 2", "1000 999 1 2", 1))
			o := noting(t)
			o.Bits = 8 * 1000
			if r.refuse = times(1 + random.IntN(4)); i == 5 {
				r.refuse = nil
			}
			_, err := Send(t.Context(), root, &r, o)
			if err == nil {
				break
			}
			if !errors.Is(err, errRefused) || i == 5 {
				t.Fatal(err)
			}
		}
		want := twice(upTo(1, n))
		if d := cmp.Diff(want[min(1, len(want)):], r.ports(t)); d != "" {
			t.Fatalf("(-want +got):\n%s", d)
		}
	}
}

// Where progress cannot be noted nothing is sent, and if that turns out only when
// a slice is confirmed the run ends.
func TestLedgerFails(t *testing.T) {
	t.Parallel()
	root, path := directory(t, lines(upTo(1, 10)...))
	dir := filepath.Dir(path)
	if err := os.Mkdir(filepath.Join(dir, progressName), 0o755); err != nil {
		t.Fatal(err)
	}
	var r receiver
	total, err := Send(t.Context(), root, &r, noting(t))
	if err == nil || total.Failed != 1 || len(r.slices) != 0 {
		t.Errorf("%+v, %v, %d slices", total, err, len(r.slices))
	}
	if err := os.Remove(filepath.Join(dir, progressName)); err != nil {
		t.Fatal(err)
	}
	for _, begun := range []bool{false, true} {
		l, err := openLedger(dir)
		if err != nil {
			t.Fatal(err)
		}
		l.begun = begun
		l.file.Close()
		s := &sender{options: noting(t), to: &r}
		s.slice.body, s.slice.flows = []byte("[1"), 1
		err = s.flush(t.Context(), l)
		if _, fatal := errors.AsType[*fatalError](err); !fatal || begun != strings.Contains(err.Error(), "will be sent again") || begun != (len(r.slices) == 1) {
			t.Errorf("begun %v: %v, %d slices", begun, err, len(r.slices))
		}
	}
}

// A log that cannot be read keeps the directory from being done, not the other log
// from being sent, once.
func TestBroken(t *testing.T) {
	t.Parallel()
	root, path := directory(t, lines(upTo(1, 61)...))
	other := filepath.Join(filepath.Dir(path), udp.logName())
	write(t, other, "nothing of ours\n")
	var r receiver
	for range 2 {
		total, err := Send(t.Context(), root, &r, noting(t))
		if fmt.Sprint(err) != "directories that were not processed: 1" || total.Failed != 1 {
			t.Errorf("%+v, %v", total, err)
		}
		if d := cmp.Diff(twice(upTo(1, 61)), r.ports(t)); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}
	write(t, other, "")
	if total, err := Send(t.Context(), root, &r, noting(t)); err != nil || total.Directories != 1 || len(r.slices) != 2 {
		t.Errorf("%+v, %v, %d slices", total, err, len(r.slices))
	}
}

// Runs at the same time do not send the same.
func TestTwoRuns(t *testing.T) {
	t.Parallel()
	root := copied(t, "tree")
	var alone receiver
	if _, err := Send(t.Context(), copied(t, "tree"), &alone, noting(t)); err != nil {
		t.Fatal(err)
	}
	var r receiver
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := Send(t.Context(), root, &r, noting(t)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	count := make(map[string]int)
	for _, f := range alone.flows(t) {
		count[f]++
	}
	for _, f := range r.flows(t) {
		count[f]--
	}
	for f, n := range count {
		if n != 0 {
			t.Errorf("%d times too few: %s", n, f)
		}
	}
	// One that is at a directory is seen.
	busy, path := directory(t, lines(1))
	l, err := openLedger(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if total, err := Send(t.Context(), busy, &r, noting(t)); err != nil || total != (Total{Busy: 1}) {
		t.Errorf("%+v, %v", total, err)
	}
	if err := l.close(true); err != nil {
		t.Fatal(err)
	}
	if total, err := Send(t.Context(), busy, &r, noting(t)); err != nil || total.Directories != 1 {
		t.Errorf("%+v, %v", total, err)
	}
}

// A file that was torn says what its last whole line does.
func TestParseProgress(t *testing.T) {
	t.Parallel()
	const one = `{"tcp":{"offset":100,"line":2,"direction":"c","sum":"0123456789abcdef"}}` + "\n"
	const two = `{"tcp":{"offset":900,"line":9,"direction":"s","sum":"0123456789abcdef"}}` + "\n"
	for _, c := range []struct {
		text string
		line int64
		rest int // octets behind the last whole line
	}{
		{"", 0, 0}, {one, 2, 0}, {one + two, 9, 0}, {one + two[:20], 2, 20}, {one + two[:20] + "\n", 2, 0},
		{strings.Repeat("\x00", 9) + "\n" + one, 2, 0}, {one + strings.Repeat("\x00", 9), 2, 9},
		{one[30:] + two, 9, 0}, {one + `{"tcp":{"offset":-1}}` + "\n", 2, 0}, {"{}\n", 0, 0}, {"\n\n", 0, 0},
	} {
		p, whole := parseProgress([]byte(c.text))
		got := int64(0)
		if p.TCP != nil {
			got = p.TCP.Line
		}
		if got != c.line || len(c.text)-whole != c.rest {
			t.Errorf("%q: line %d, %d octets left; want %d and %d", c.text, got, len(c.text)-whole, c.line, c.rest)
		}
	}
}

// FuzzParseProgress: whatever a file says, what it is taken for can be written and
// read again.
func FuzzParseProgress(f *testing.F) {
	f.Add([]byte(`{"tcp":{"offset":100,"line":2,"direction":"c","sum":"0123456789abcdef"}}` + "\n{"))
	f.Add([]byte("{}\n\x00\x00\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, whole := parseProgress(text)
		if whole > len(text) || !p.TCP.valid() || !p.UDP.valid() {
			t.Fatalf("%+v, %d of %d", p, whole, len(text))
		}
		line, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, _ := parseProgress(append(bytes.Clone(text[:whole]), append(line, '\n')...))
		if d := cmp.Diff(p, again); d != "" {
			t.Error(d)
		}
	})
}
