package recorder_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"owl/owamp"
	"owl/owamp/owp"
	"owl/owamp/schedule"
	"owl/owamp/stats"
	"owl/sessions/recorder"
)

// A source delivers nothing by itself: the test gives batches to the recorder.
type source struct {
	mu     sync.Mutex
	closed bool
	drain  func() // called by Drain; may be nil
}

func (s *source) Drain() owamp.Timestamp {
	if s.drain != nil {
		s.drain()
	}
	return now()
}

func (s *source) Drained() owamp.Timestamp { return s.Drain() }

func (s *source) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

func now() owamp.Timestamp { return owamp.FromTime(time.Now()) }

// precise is an error estimate.
var precise = owamp.NewErrorEstimate(time.Microsecond, true)

// A bench is a recorder and what is around it.
type bench struct {
	*recorder.Recorder
	t      *testing.T
	spec   owamp.SessionSpec
	due    []owamp.Timestamp // when each packet is
	file   *os.File
	source *source

	mu    sync.Mutex
	seen  []owamp.Record
	parts []recorder.Part
	texts []string // the summaries of parts
}

func fixed(d time.Duration) owamp.Slot {
	return owamp.Slot{Type: owamp.SlotFixed, Parameter: owamp.IntervalOf(d)}
}

func exponential(mean time.Duration) owamp.Slot {
	return owamp.Slot{Type: owamp.SlotExponential, Parameter: owamp.IntervalOf(mean)}
}

// newBench returns a recorder of n packets that are due from now on.
func newBench(t *testing.T, n uint32, slot owamp.Slot, timeout time.Duration, each uint32) *bench {
	t.Helper()
	b := &bench{t: t, source: new(source), spec: owamp.SessionSpec{
		ConfSender: true,
		Slots:      []owamp.Slot{slot},
		Packets:    n,
		SID:        owamp.SID{1, 2, 3},
		Sender:     netip.MustParseAddrPort("192.0.2.2:9000"),
		Receiver:   netip.MustParseAddrPort("192.0.2.1:9001"),
		Start:      now(),
		Timeout:    owamp.IntervalOf(timeout),
	}}
	gen, err := schedule.New(b.spec.SID, b.spec.Slots)
	if err != nil {
		t.Fatal(err)
	}
	at := b.spec.Start
	for range n {
		at = at.Add(gen.Next())
		b.due = append(b.due, at)
	}
	if b.file, err = os.Create(filepath.Join(t.TempDir(), "session.owp")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.file.Close() })
	b.Recorder, err = recorder.New(recorder.Config{
		Spec: &b.spec,
		File: b.file,
		Now:  now,
		Err:  func() owamp.ErrorEstimate { return precise },
		Seen: func(recs []owamp.Record) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.seen = append(b.seen, recs...)
		},
		Each: each,
		Part: b.part,
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) part(r *owp.Reader, p recorder.Part) {
	text := b.summarize(r, p, p.Offset)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.parts = append(b.parts, p)
	b.texts = append(b.texts, text)
}

// told returns of how many parts the recorder has told.
func (b *bench) told() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.parts)
}

// summarize returns the summary of p from the records of r behind offset.
func (b *bench) summarize(r *owp.Reader, p recorder.Part, offset int64) string {
	s := &stats.Session{Spec: b.spec}
	sum, err := stats.Summarize(s, r.Batches(offset), stats.Options{First: p.First, Last: p.Last})
	if err != nil {
		b.t.Errorf("part %d: %v", p.Index, err)
		return ""
	}
	return string(sum.AppendMachine(nil, stats.Names{From: "a", To: "b"}, false))
}

// packet is packet seq as it arrives after delay.
func (b *bench) packet(seq uint32, delay time.Duration) owamp.Record {
	at := b.due[min(seq, b.spec.Packets-1)]
	return owamp.Record{Seq: seq, Sent: at, Recv: at.AddDuration(delay), SentErr: precise, RecvErr: precise, TTL: 60}
}

// arrive hands over packets now.
func (b *bench) arrive(delay time.Duration, seqs ...uint32) {
	for _, seq := range seqs {
		b.Batch([]owamp.Record{b.packet(seq, delay)})
	}
}

// until waits until packet seq is due, and so much longer.
func (b *bench) until(seq uint32, longer time.Duration) {
	time.Sleep(time.Until(b.due[seq].Time().Add(longer)))
}

// read returns what the file says.
func (b *bench) read() (*owp.Reader, []owamp.Record) {
	b.t.Helper()
	info, err := b.file.Stat()
	if err != nil {
		b.t.Fatal(err)
	}
	r, err := owp.NewReader(b.file, info.Size())
	if err != nil {
		b.t.Fatal(err)
	}
	var recs []owamp.Record
	for rec, err := range r.Records() {
		if err != nil {
			b.t.Fatal(err)
		}
		recs = append(recs, rec)
	}
	return r, recs
}

// sequence writes records as their sequence numbers, lost ones in brackets.
func sequence(recs []owamp.Record) string {
	var s []string
	for _, r := range recs {
		if r.Lost() {
			s = append(s, fmt.Sprintf("[%d]", r.Seq))
		} else {
			s = append(s, fmt.Sprint(r.Seq))
		}
	}
	return strings.Join(s, " ")
}
