package control_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/control"
	"owl/owamp/owp"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// A fakeFetcher has the answer to any Fetch-Session.
type fakeFetcher struct {
	*fakeHandler
	answerFetch func(request owamp.FetchSession) control.FetchAnswer
	asked       []owamp.FetchSession
	done        []error
}

func newFetcher(answer func(request owamp.FetchSession) control.FetchAnswer) *fakeFetcher {
	return &fakeFetcher{fakeHandler: newHandler(), answerFetch: answer}
}

func (h *fakeFetcher) Fetch(_ context.Context, sid owamp.SID, begin, end uint32) control.FetchAnswer {
	request := owamp.FetchSession{Begin: begin, End: end, SID: sid}
	h.calls = append(h.calls, "Fetch")
	h.asked = append(h.asked, request)
	a := h.answerFetch(request)
	a.Done = func(err error) { h.done = append(h.done, err) }
	return a
}

// A kept is a session as it is kept: what is told of it, and its records.
type kept struct {
	head control.Fetched
	recs []owamp.Record
}

// answer has the records of k that request asks for.
func (k *kept) answer(request owamp.FetchSession) control.FetchAnswer {
	if request.SID != k.head.Spec.SID {
		return control.FetchAnswer{Accept: owamp.AcceptReject}
	}
	var recs []owamp.Record
	for _, r := range k.recs {
		if request.Begin <= r.Seq && r.Seq <= request.End {
			recs = append(recs, r)
		}
	}
	a := control.FetchAnswer{Fetched: k.head, Each: each(recs)}
	a.Records = uint32(len(recs))
	return a
}

func each(recs []owamp.Record) iter.Seq2[owamp.Record, error] {
	return func(yield func(owamp.Record, error) bool) {
		for _, r := range recs {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// keptFile is the session of an .owp file.
func keptFile(tb testing.TB, path string) *kept {
	tb.Helper()
	r, err := owp.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Close()
	h := r.Header()
	k := &kept{head: control.Fetched{Spec: h.Spec, Finished: uint8(h.Finished), NextSeq: h.NextSeq, Skips: r.Skips(), Records: uint32(r.Len())}}
	for rec, err := range r.Records() {
		if err != nil {
			tb.Fatal(err)
		}
		k.recs = append(k.recs, rec)
	}
	return k
}

// randomKept is a session of that many records, some of them duplicates, lost,
// or out of order.
func randomKept(seed uint64, slots, skips, records int) *kept {
	rng := rand.New(rand.NewPCG(seed, 4656))
	spec := fromServer(max(uint32(records), 2*uint32(skips), 1), 9)
	spec.Sender, spec.Slots = spec.Receiver, nil
	for range slots {
		spec.Slots = append(spec.Slots, owamp.Slot{Type: owamp.SlotType(rng.IntN(2)), Parameter: owamp.Interval(rng.Uint64())})
	}
	k := &kept{head: control.Fetched{Spec: spec, Finished: 1, NextSeq: spec.Packets, Records: uint32(records)}}
	for i := range skips {
		k.head.Skips = append(k.head.Skips, owamp.SkipRange{First: 2 * uint32(i), Last: 2*uint32(i) + rng.Uint32N(2)})
	}
	clockError := func() owamp.ErrorEstimate { return owamp.ErrorEstimate(rng.Uint32())&^(1<<14) | 1 }
	for range records {
		k.recs = append(k.recs, owamp.Record{
			Seq: rng.Uint32N(spec.Packets), Sent: owamp.Timestamp(rng.Uint64()), Recv: owamp.Timestamp(rng.Uint64N(2) * rng.Uint64()),
			SentErr: clockError(), RecvErr: clockError(), TTL: uint8(rng.Uint32()),
		})
	}
	return k
}

// fetch fetches packets begin to end of a session.
func fetch(ctx context.Context, c *control.Client, sid owamp.SID, begin, end uint32) (*kept, error) {
	var k *kept
	err := c.Fetch(ctx, sid, begin, end, func(head *control.Fetched) (func([]owamp.Record) error, error) {
		k = &kept{head: *head}
		return func(recs []owamp.Record) error {
			k.recs = append(k.recs, recs...)
			return nil
		}, nil
	})
	return k, err
}

var compareKept = cmp.Options{equateAddr, cmp.AllowUnexported(kept{}), cmpopts.EquateEmpty()}

// The client's half fetches, octet for octet, what the reference's server sent
// after a test, and what it gets of it is what the reference's client stored.
func TestReplayFetchClient(t *testing.T) {
	for _, name := range []string{"open-clean", "ipv6-mixed"} {
		for _, chunk := range []int{1, 7, 1000} {
			t.Run(fmt.Sprintf("%s/%d", name, chunk), func(t *testing.T) {
				bubble.Test(t, func(t *testing.T) {
					near, far := net.Pipe()
					go func() {
						defer far.Close()
						playAll(t, far, append(conversation(t, name), fetching(t, name)...), chunk, func(*recorded) {})
					}()
					c := connect(t, near)
					specs := recordedSpecs(t, name)
					answers, err := c.Request(t.Context(), specs)
					if err != nil {
						t.Fatal(err)
					}
					if err := c.Start(t.Context()); err != nil {
						t.Fatal(err)
					}
					if _, err := fetch(t.Context(), c, answers[0].SID, 0, math.MaxUint32); err == nil {
						t.Error("Fetch in a test, want an error")
					}
					if _, err := c.Stop(t.Context(), []owamp.SendReport{{SID: answers[0].SID, NextSeq: specs[0].Packets}}); err != nil {
						t.Fatal(err)
					}
					got, err := fetch(t.Context(), c, answers[0].SID, 0, math.MaxUint32)
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(keptFile(t, "../owp/testdata/"+name+"/c2s.owp"), got, compareKept); diff != "" {
						t.Errorf("fetched (-want +got):\n%s", diff)
					}
					_ = c.Close()
				})
			})
		}
	}
}

// The server's half answers, octet for octet, as the reference's server did.
func TestReplayFetchServer(t *testing.T) {
	for _, name := range []string{"open-clean", "ipv6-mixed"} {
		bubble.Test(t, func(t *testing.T) {
			k := keptFile(t, "../owp/testdata/"+name+"/c2s.owp")
			plain, cfg := recordedHandler(t, name)
			h := &fakeFetcher{fakeHandler: plain, answerFetch: k.answer}
			conn, ended := serve(t.Context(), cfg, h)
			for _, m := range append(conversation(t, name), fetching(t, name)...) {
				if !m.fromServer {
					write(conn, m.octets, 7)
					continue
				}
				if m.name == "Server-Greeting" {
					m.octets[15] = byte(owamp.ModeOpen) // the reference offered the others too
				}
				if got := read(t, conn, len(m.octets)); !bytes.Equal(got, m.octets) {
					t.Errorf("%s: %s:\n%x, want\n%x", name, m.name, got, m.octets)
				}
			}
			conn.Close()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if want := []owamp.FetchSession{{End: math.MaxUint32, SID: k.head.Spec.SID}}; !slices.Equal(want, h.asked) {
				t.Errorf("%s: asked for %v, want %v", name, h.asked, want)
			}
			if len(h.done) != 1 || h.done[0] != nil {
				t.Errorf("%s: done with %v, want once with no error", name, h.done)
			}
		})
	}
}

// Whatever the reference wrote comes through as it is, and makes the same file.
func TestFetchFiles(t *testing.T) {
	var paths []string
	if err := fs.WalkDir(os.DirFS("../owp/testdata"), ".", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".owp" {
			paths = append(paths, "../owp/testdata/"+path)
		}
		return err
	}); err != nil || len(paths) < 20 {
		t.Fatalf("%d files, %v; want 20 or more", len(paths), err)
	}
	byPath := make(map[owamp.SID]*kept)
	h := newFetcher(func(request owamp.FetchSession) control.FetchAnswer { return byPath[request.SID].answer(request) })
	conn, ended := serve(t.Context(), openMode(), h)
	c := connect(t, conn)
	for _, path := range paths {
		want := keptFile(t, path)
		byPath[want.head.Spec.SID] = want
		got, err := fetch(t.Context(), c, want.head.Spec.SID, 0, math.MaxUint32)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if diff := cmp.Diff(want, got, compareKept); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
		if filepath.Base(path) != "c2s.owp" {
			continue // not fetched, so its parts are in another order
		}
		octets, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if again := stored(t, got); !bytes.Equal(again, octets) {
			t.Errorf("%s: stored as\n%x, want\n%x", path, again, octets)
		}
	}
	_ = c.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// stored is the .owp file of what was fetched.
func stored(t *testing.T, k *kept) []byte {
	t.Helper()
	var file bytes.Buffer
	err := owp.Store(&file, &owp.Header{Finished: owp.Finished(k.head.Finished), NextSeq: k.head.NextSeq, NumRecords: k.head.Records, Spec: k.head.Spec}, k.head.Skips, each(k.recs))
	if err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// All that is about whole blocks, batches and the bounds of both.
func TestFetchSizes(t *testing.T) {
	var now *kept
	h := newFetcher(func(request owamp.FetchSession) control.FetchAnswer { return now.answer(request) })
	conn, ended := serve(t.Context(), openMode(), h)
	c := connect(t, conn)
	try := func(slots, skips, records int) {
		t.Helper()
		now = randomKept(uint64(records), slots, skips, records)
		got, err := fetch(t.Context(), c, now.head.Spec.SID, 0, math.MaxUint32)
		if err != nil {
			t.Fatalf("%d slots, %d skip ranges, %d records: %v", slots, skips, records, err)
		}
		if diff := cmp.Diff(now, got, compareKept); diff != "" {
			t.Errorf("%d slots, %d skip ranges, %d records (-want +got):\n%s", slots, skips, records, diff)
		}
	}
	for records := range 50 {
		try(1+records%4, records%5, records)
	}
	for _, records := range []int{639, 640, 641, 1279, 1280, 1281, 1920, 5000} {
		try(2, 1, records)
	}
	for _, skips := range []int{639, 640, 641, 1279, 1280, 1281, 2560, 2561} {
		try(1, skips, 3)
	}
	for _, slots := range []int{639, 640, 641, 1280, 65536} {
		try(slots, 0, 3)
	}
	_ = c.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if i := slices.IndexFunc(h.done, func(err error) bool { return err != nil }); i >= 0 || len(h.done) != len(h.asked) {
		t.Errorf("%d answers, done with %v; want each once without an error", len(h.asked), h.done)
	}
}

// Ranges, refusals, and a session in which nothing is recorded yet, on one
// connection, with tests before, between and after.
func TestFetchConversation(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		k := randomKept(1, 1, 3, 2000)
		unknown := owamp.SID{1, 2, 3}
		h := newFetcher(func(request owamp.FetchSession) control.FetchAnswer {
			if request.SID == unknown {
				// What is refused is refused whole, whatever else it says.
				return control.FetchAnswer{Accept: owamp.AcceptTemporaryLimit, Fetched: k.head, Each: each(k.recs)}
			}
			return k.answer(request)
		})
		conn, ended := serve(t.Context(), openMode(), h)
		c := connect(t, conn)
		test := func() {
			t.Helper()
			answers, err := c.Request(t.Context(), []owamp.SessionSpec{toServer(20)})
			if err != nil {
				t.Fatal(err)
			}
			// Between request and start too.
			if _, err := fetch(t.Context(), c, k.head.Spec.SID, 3, 4); err != nil {
				t.Error(err)
			}
			if err := c.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Stop(t.Context(), []owamp.SendReport{{SID: answers[0].SID, NextSeq: 20}}); err != nil {
				t.Fatal(err)
			}
		}
		denied := func(sid owamp.SID, want owamp.Accept) {
			t.Helper()
			got, err := fetch(t.Context(), c, sid, 0, math.MaxUint32)
			if denied, ok := errors.AsType[*control.DeniedError](err); !ok || denied.Accept != want || got != nil {
				t.Errorf("%v, %v; want to be denied: %v", got, err, want)
			}
			wantOneLine(t, err)
		}
		test()
		denied(owamp.SID{9}, owamp.AcceptReject)
		for _, r := range [][2]uint32{{0, 0}, {5, 5}, {100, 1700}, {1999, 1999}, {1000, math.MaxUint32}, {2000, 2100}} {
			got, err := fetch(t.Context(), c, k.head.Spec.SID, r[0], r[1])
			if err != nil {
				t.Fatalf("packets %d to %d: %v", r[0], r[1], err)
			}
			want := &kept{head: k.head}
			for _, rec := range k.recs {
				if r[0] <= rec.Seq && rec.Seq <= r[1] {
					want.recs = append(want.recs, rec)
				}
			}
			want.head.Records = uint32(len(want.recs))
			if empty := r[0] == 2000; empty != (got.head.Records == 0) {
				t.Errorf("packets %d to %d: %d records", r[0], r[1], got.head.Records)
			}
			if diff := cmp.Diff(want, got, compareKept); diff != "" {
				t.Errorf("packets %d to %d (-want +got):\n%s", r[0], r[1], diff)
			}
		}
		denied(unknown, owamp.AcceptTemporaryLimit)
		test()
		asked := len(h.asked)
		if _, err := fetch(t.Context(), c, k.head.Spec.SID, 8, 7); err == nil || len(h.asked) != asked {
			t.Errorf("packets 8 to 7: %v, and the server was asked; want an error before", err)
		}
		_ = c.Close()
		if err := <-ended; err != nil || h.aborted != nil {
			t.Errorf("Serve: %v, aborted with %v; want an orderly end", err, h.aborted)
		}
		if _, err := fetch(t.Context(), c, unknown, 0, 1); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Fetch after Close: %v, want that it is closed", err)
		}
	})
}

// A handler that keeps nothing, and a range that ends before it begins.
func TestFetchRefused(t *testing.T) {
	for want, h := range map[owamp.Accept]control.Handler{
		owamp.AcceptNotSupported: newHandler(),
		owamp.AcceptReject: newFetcher(func(request owamp.FetchSession) control.FetchAnswer {
			t.Errorf("asked for %v", request)
			return control.FetchAnswer{}
		}),
	} {
		bubble.Test(t, func(t *testing.T) {
			twice := bytes.Repeat(owamp.FetchSession{Begin: 8, End: 7, SID: owamp.SID{1}}.Append(nil), 2)
			wantAnswer := bytes.Repeat(owamp.FetchAck{Accept: want}.Append(nil), 2)
			got, err := probe(t, openMode(), h, twice, len(wantAnswer))
			if err != nil || !bytes.Equal(got, wantAnswer) {
				t.Errorf("answers %x, %v; want accept code %d twice", got, err, want)
			}
		})
	}
}

// What the caller does not want ends the fetch, with the caller's own error,
// and the connection.
func TestFetchNotWanted(t *testing.T) {
	notWanted := fmt.Errorf("disk full: %w", &control.DeniedError{Step: "elsewhere"})
	for _, where := range []string{"head", "first batch", "last batch"} {
		bubble.Test(t, func(t *testing.T) {
			h := newFetcher(randomKept(1, 1, 0, 2000).answer)
			conn, ended := serve(t.Context(), openMode(), h)
			c := connect(t, conn)
			got := 0
			err := c.Fetch(t.Context(), fromServer(1, 9).SID, 0, math.MaxUint32, func(head *control.Fetched) (func([]owamp.Record) error, error) {
				if where == "head" {
					return nil, notWanted
				}
				return func(recs []owamp.Record) error {
					got += len(recs)
					if where == "first batch" || got == 2000 {
						return notWanted
					}
					return nil
				}, nil
			})
			if !errors.Is(err, notWanted) {
				t.Errorf("%s: %v, want %v", where, err, notWanted)
			}
			if _, err := c.Request(t.Context(), nil); !errors.Is(err, notWanted) {
				t.Errorf("%s: afterwards %v, want %v", where, err, notWanted)
			}
			_ = c.Close()
			<-ended
			if len(h.done) != 1 || (h.done[0] == nil) != (where == "last batch") {
				// A pipe holds nothing: the HMAC block goes with the last records.
				t.Errorf("%s: done with %v", where, h.done)
			}
		})
	}
}

// What a handler fails to say after it has accepted ends the connection, and
// no peer takes it for a whole session.
func TestFetchHandlerFails(t *testing.T) {
	broken := errors.New("octet 7: end of file")
	for name, test := range map[string]struct {
		each iter.Seq2[owamp.Record, error]
		want string
	}{
		"error": {func(yield func(owamp.Record, error) bool) {
			_ = yield(owamp.Record{SentErr: 1, RecvErr: 1}, nil) && yield(owamp.Record{}, broken)
		}, "sending session c1000000000000000000000000000009: octet 7: end of file"},
		"fewer": {each(make([]owamp.Record, 2)), "sending session c1000000000000000000000000000009: 2 records, want the 3 that were announced"},
	} {
		bubble.Test(t, func(t *testing.T) {
			k := randomKept(1, 1, 0, 3)
			h := newFetcher(func(request owamp.FetchSession) control.FetchAnswer {
				a := k.answer(request)
				a.Each = test.each
				return a
			})
			conn, ended := serve(t.Context(), openMode(), h)
			c := connect(t, conn)
			_, err := fetch(t.Context(), c, k.head.Spec.SID, 0, math.MaxUint32)
			if lost, ok := errors.AsType[*control.ConnError](err); !ok || !errors.Is(lost, io.EOF) && !errors.Is(lost, io.ErrUnexpectedEOF) {
				t.Errorf("%s: the client says %v, want a lost connection", name, err)
			}
			if err := <-ended; err == nil || err.Error() != test.want || len(h.done) != 1 || !errors.Is(h.done[0], err) {
				t.Errorf("%s: the server says %v, done with %v; want %s", name, err, h.done, test.want)
			}
			_ = c.Close()
		})
	}
}

// A session that grows while it is sent has the records that were announced.
func TestFetchGrowing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		for _, records := range []uint32{0, 1, 640, 700} {
			k := randomKept(1, 1, 0, 2000)
			h := newFetcher(func(request owamp.FetchSession) control.FetchAnswer {
				a := k.answer(request)
				a.Records = records
				if records == 0 {
					a.Each = nil
				}
				return a
			})
			conn, ended := serve(t.Context(), openMode(), h)
			c := connect(t, conn)
			for range 2 {
				got, err := fetch(t.Context(), c, k.head.Spec.SID, 0, math.MaxUint32)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(k.recs[:records], got.recs) || got.head.Records != records {
					t.Errorf("%d records of %d that were announced, want %d", len(got.recs), got.head.Records, records)
				}
			}
			_ = c.Close()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
}

// However long a session is, as much memory is used.
func TestFetchAllocations(t *testing.T) {
	perFetch := func(records int) float64 {
		k := randomKept(1, 1, 0, records)
		a := k.answer(owamp.FetchSession{SID: k.head.Spec.SID, End: math.MaxUint32})
		h := &plainFetcher{newHandler(), a}
		near, far := tcp(t)
		ended := serveOn(t.Context(), far, openMode(), h)
		c := connect(t, near)
		allocs := testing.AllocsPerRun(5, func() {
			var n uint32
			err := c.Fetch(t.Context(), k.head.Spec.SID, 0, math.MaxUint32, func(*control.Fetched) (func([]owamp.Record) error, error) {
				return func(recs []owamp.Record) error { n += uint32(len(recs)); return nil }, nil
			})
			if err != nil || n != uint32(records) {
				t.Errorf("%d records, %v; want %d", n, err, records)
			}
		})
		_ = c.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		return allocs
	}
	few, many := perFetch(700), perFetch(100_000)
	if many > few+20 { // of what runs beside
		t.Errorf("%v allocations for 700 records, %v for 100000; want no more", few, many)
	}
}

// A plainFetcher gives one answer.
type plainFetcher struct {
	*fakeHandler
	answer control.FetchAnswer
}

func (h *plainFetcher) Fetch(context.Context, owamp.SID, uint32, uint32) control.FetchAnswer {
	return h.answer
}

func BenchmarkFetch(b *testing.B) {
	const records = 100_000
	k := randomKept(1, 1, 0, records)
	h := &plainFetcher{newHandler(), k.answer(owamp.FetchSession{SID: k.head.Spec.SID, End: math.MaxUint32})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	ended := serveOn(b.Context(), far, openMode(), h)
	c, err := control.Connect(b.Context(), near, control.ClientConfig{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(records * owamp.RecordSize)
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Fetch(b.Context(), k.head.Spec.SID, 0, math.MaxUint32, func(*control.Fetched) (func([]owamp.Record) error, error) {
			return func([]owamp.Record) error { return nil }, nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	_ = c.Close()
	<-ended
}
