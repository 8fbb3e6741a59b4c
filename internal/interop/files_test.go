package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"owl/internal/testprog"
	"owl/owamp"
	"owl/owamp/owp"
	"owl/owamp/schedule"
)

// A measured session is an .owp file, read.
type measured struct {
	path       string
	start, end owamp.Timestamp // as the name has them
	*owp.Header
	skips   []owamp.SkipRange
	records []owamp.Record
}

// read reads an .owp file with all its records.
func read(t testing.TB, path string) *measured {
	t.Helper()
	r, err := owp.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	m := &measured{path: path, Header: r.Header(), skips: r.Skips()}
	for rec, err := range r.Records() {
		if err != nil {
			t.Fatal(err)
		}
		m.records = append(m.records, rec)
	}
	return m
}

// awaitRecords waits until a file that matches pattern, of a session that is
// being received, has n records.
func awaitRecords(t testing.TB, pattern string, n int) {
	t.Helper()
	const recordSize = 25
	testprog.Until(t, fmt.Sprintf("a file %s with %d records", pattern, n), func() error {
		files, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, f := range files {
			if info, err := os.Stat(f); err == nil && info.Size() > int64(n*recordSize) {
				return nil
			}
		}
		return fmt.Errorf("files %v", files)
	})
}

// sessionsIn reads all sessions that a powstream has written to dir, in order
// of their start.
func sessionsIn(t testing.TB, dir string) []*measured {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.owp"))
	if err != nil {
		t.Fatal(err)
	}
	all := make([]*measured, 0, len(names))
	for _, name := range names {
		m := read(t, name)
		m.start, m.end = span(t, name)
		if m.start != m.Spec.Start {
			t.Errorf("%s: the session begins at %d, which the name does not say", name, m.Spec.Start)
		}
		all = append(all, m)
	}
	return all
}

// span returns the times in a file's name.
func span(t testing.TB, path string) (start, end owamp.Timestamp) {
	t.Helper()
	base := filepath.Base(path)
	name := strings.TrimSuffix(base, filepath.Ext(base))
	var s, e uint64
	if n, err := fmt.Sscanf(name, "%d_%d", &s, &e); n != 2 || err != nil || name != fmt.Sprintf("%020d_%020d", s, e) {
		t.Fatalf("file %s: want two times of 20 digits", path)
	}
	return owamp.Timestamp(s), owamp.Timestamp(e)
}

// A census says what became of the packets of a session.
type census struct {
	received, lost, skipped, duplicates, reordered int
	missing                                        []uint32 // without a record
}

// count takes the census of the first n packets.
func (m *measured) count(n uint32) census {
	var c census
	skipped := make([]bool, n)
	for _, s := range m.skips {
		for seq := s.First; seq <= s.Last && seq < n; seq++ {
			if !skipped[seq] {
				c.skipped++
			}
			skipped[seq] = true
		}
	}
	seen := make([]bool, n)
	var next uint32
	for i := range m.records {
		r := &m.records[i]
		switch {
		case r.Seq >= n || skipped[r.Seq]:
			if r.Seq < n {
				seen[r.Seq] = true
			}
			continue
		case seen[r.Seq]:
			c.duplicates++
			continue
		case r.Lost():
			c.lost++
		default:
			c.received++
			if r.Seq < next {
				c.reordered++
			} else {
				next = r.Seq + 1
			}
		}
		seen[r.Seq] = true
	}
	for seq, ok := range seen {
		if !ok && !skipped[seq] {
			c.missing = append(c.missing, uint32(seq))
		}
	}
	return c
}

// times returns the scheduled times of all packets.
func (m *measured) times(t testing.TB) []owamp.Timestamp {
	t.Helper()
	g, err := schedule.New(m.Spec.SID, m.Spec.Slots)
	if err != nil {
		t.Fatal(err)
	}
	at := m.Spec.Start
	times := make([]owamp.Timestamp, m.Spec.Packets)
	for i := range times {
		at = at.Add(g.Next())
		times[i] = at
	}
	return times
}

// isCut reports whether the session ended before its schedule did, and its name
// says so.
func (m *measured) isCut(t testing.TB) bool {
	t.Helper()
	times := m.times(t)
	return m.end != times[len(times)-1]
}

// checkWhole checks a session that ran to its end over a path that harms
// nothing.
func (m *measured) checkWhole(t testing.TB) {
	t.Helper()
	times := m.times(t)
	if m.Finished != owp.Normal || m.NextSeq != m.Spec.Packets || len(m.skips) != 0 {
		t.Errorf("%s: %v, next %d, skips %v: want all %d packets sent", m.path, m.Finished, m.NextSeq, m.skips, m.Spec.Packets)
	}
	if want := times[len(times)-1]; m.end != 0 && m.end != want {
		t.Errorf("%s: the last packet is scheduled for %d, which the name does not say", m.path, want)
	}
	m.checkUnharmed(t, m.Spec.Packets)
}

// checkCut checks a session that its receiver ended early, over a path that
// harms nothing: what there is has no hole, and the name says how far it goes.
func (m *measured) checkCut(t testing.TB, finished owp.Finished) {
	t.Helper()
	if len(m.records) == 0 {
		t.Errorf("%s: no records", m.path)
		return
	}
	if m.Finished != finished {
		t.Errorf("%s: %v, want %v", m.path, m.Finished, finished)
	}
	last := m.records[0].Seq
	for _, r := range m.records {
		last = max(last, r.Seq)
	}
	if want := m.times(t)[last]; m.end != want {
		t.Errorf("%s: packet %d is the last there is, scheduled for %d, which the name does not say", m.path, last, want)
	}
	m.checkUnharmed(t, last+1)
}

// checkUnharmed checks the first n packets: each came, once, and as it was sent.
func (m *measured) checkUnharmed(t testing.TB, n uint32) {
	t.Helper()
	if c := m.count(n); c.received != int(n) || c.lost+c.skipped+c.duplicates+c.reordered+len(c.missing) > 0 {
		t.Errorf("%s: %+v: want %d packets received", m.path, c, n)
	}
	m.checkStamps(t, 255)
}

// checkStamps checks that the packets that came were sent when they were due or
// later, and received not before they were sent, by a clock of microseconds; and
// their TTL.
func (m *measured) checkStamps(t testing.TB, ttl uint8) {
	t.Helper()
	times := m.times(t)
	const microsecond = (1<<32)/1000000 + 1
	for _, r := range m.records {
		if r.Lost() {
			continue
		}
		if r.Sent+microsecond < times[r.Seq] {
			t.Errorf("%s: packet %d was sent %v before its time", m.path, r.Seq, times[r.Seq].Sub(r.Sent))
		}
		if r.Recv+microsecond < r.Sent {
			t.Errorf("%s: packet %d was received %v before it was sent", m.path, r.Seq, r.Sent.Sub(r.Recv))
		}
		if r.TTL != ttl {
			t.Errorf("%s: packet %d came with TTL %d, want %d", m.path, r.Seq, r.TTL, ttl)
		}
		if !r.SentErr.Valid() || !r.RecvErr.Valid() {
			t.Errorf("%s: packet %d: error estimates %#04x and %#04x", m.path, r.Seq, uint16(r.SentErr), uint16(r.RecvErr))
		}
		if t.Failed() {
			return // one packet tells enough
		}
	}
}

// checkChain checks that each session begins where the one before it ends.
func checkChain(t testing.TB, all []*measured) {
	t.Helper()
	for i := 1; i < len(all); i++ {
		if all[i].start != all[i-1].end {
			t.Errorf("%s begins %v after the end of %s", all[i].path, all[i].start.Sub(all[i-1].end), all[i-1].path)
		}
	}
}

// checkPrinted checks the names that powstream -p has printed: those of all
// files, each once, and of a session the .owp before the .sum.
func checkPrinted(t testing.TB, dir string, printed []string) {
	t.Helper()
	var files []string
	for _, pattern := range []string{"*.owp", "*.sum"} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, names...)
	}
	sorted := slices.Sorted(slices.Values(printed))
	slices.Sort(files)
	if !slices.Equal(sorted, files) {
		t.Errorf("printed\n%s\nwant the files\n%s", strings.Join(sorted, "\n"), strings.Join(files, "\n"))
	}
	for i, name := range printed {
		if base, ok := strings.CutSuffix(name, ".owp"); ok && slices.Index(printed, base+".sum") < i {
			t.Errorf("%s was printed after the .sum", name)
		}
	}
}
