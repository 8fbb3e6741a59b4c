package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"owl/owamp"
	"owl/owamp/control"
	"owl/owamp/owp"
	"owl/sessions/fetch"
	"owl/sessions/ping/pingtest"
)

// connect sets up a control connection to a peer.
func connect(t *testing.T, peer *pingtest.Peer) *control.Client {
	t.Helper()
	conn, err := net.Dial("tcp", peer.Addr)
	if err != nil {
		t.Fatal(err)
	}
	c, err := control.Connect(t.Context(), conn, control.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// keep lets peer have the session of an .owp file in testdata. They are
// files of the C suite's owping, which it has fetched from the C suite's owampd.
func keep(t *testing.T, peer *pingtest.Peer, name string) (sid owamp.SID, octets []byte) {
	t.Helper()
	octets, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	r, err := owp.NewReader(bytes.NewReader(octets), int64(len(octets)))
	if err != nil {
		t.Fatal(err)
	}
	sid = r.Header().Spec.SID
	peer.Keep(sid, octets)
	return sid, octets
}

// What is fetched is what the C suite makes of the same session, octet for
// octet.
func TestWhole(t *testing.T) {
	peer := pingtest.New(t, pingtest.Config{})
	c := connect(t, peer)
	for _, name := range []string{"skips.owp", "loss10.owp", "one-packet.owp", "ipv6-mixed.owp"} {
		sid, want := keep(t, peer, name)
		var got bytes.Buffer
		if err := fetch.Whole(t.Context(), c, sid, &got); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: %d octets that differ from the file's %d", name, got.Len(), len(want))
		}
	}
}

// A refusal leaves the connection as it was, and nothing behind.
func TestDenied(t *testing.T) {
	peer := pingtest.New(t, pingtest.Config{})
	c := connect(t, peer)
	var got bytes.Buffer
	err := fetch.Whole(t.Context(), c, owamp.SID{1}, &got)
	if denied, ok := errors.AsType[*control.DeniedError](err); !ok || denied.Accept != owamp.AcceptReject {
		t.Errorf("%v, want a DeniedError", err)
	}
	if want := "Server denied request for session data: Fetch-Ack: refused"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	// The peer does not know ranges.
	sid, want := keep(t, peer, "loss10.owp")
	if err := fetch.Packets(t.Context(), c, sid, 5, 9, &got); err == nil {
		t.Error("what was denied has come")
	}
	if got.Len() != 0 {
		t.Errorf("%d octets were written", got.Len())
	}
	if err := fetch.Whole(t.Context(), c, sid, &got); err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("after a refusal: %v, %d octets", err, got.Len())
	}
}

// A session that is known comes as it is, and one that only has its ID does not,
// nor one with more records than a network could have made.
func TestOf(t *testing.T) {
	peer := pingtest.New(t, pingtest.Config{})
	sid, want := keep(t, peer, "loss10.owp")
	r, err := owp.NewReader(bytes.NewReader(want), int64(len(want)))
	if err != nil {
		t.Fatal(err)
	}
	spec := r.Header().Spec
	var got bytes.Buffer
	if err := fetch.Of(t.Context(), connect(t, peer), &spec, 0, math.MaxUint32, &got); err != nil || !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%v, %d octets of %d", err, got.Len(), len(want))
	}
	for what, change := range map[string]func(*owamp.SessionSpec){
		"more packets":      func(s *owamp.SessionSpec) { s.Packets++ },
		"a later start":     func(s *owamp.SessionSpec) { s.Start++ },
		"a longer time-out": func(s *owamp.SessionSpec) { s.Timeout++ },
		"another schedule":  func(s *owamp.SessionSpec) { s.Slots = []owamp.Slot{{Type: owamp.SlotFixed, Parameter: 1 << 30}} },
		"one slot more":     func(s *owamp.SessionSpec) { s.Slots = append(slices.Clone(s.Slots), s.Slots...) },
		"no schedule":       func(s *owamp.SessionSpec) { s.Slots = nil },
	} {
		other := spec
		change(&other)
		got.Reset()
		err := fetch.Of(t.Context(), connect(t, peer), &other, 0, math.MaxUint32, &got)
		if err == nil || !strings.HasPrefix(err.Error(), "the server has a session "+sid.String()) || got.Len() != 0 {
			t.Errorf("%s: %v, %d octets", what, err, got.Len())
		}
	}

	// As many copies of each packet as no network makes.
	spec.SID, spec.Packets = owamp.SID{7}, 4
	recs := slices.Repeat([]owamp.Record{{Seq: 1, Sent: spec.Start + 1, Recv: spec.Start + 2, SentErr: owamp.UnknownError, RecvErr: owamp.UnknownError}}, 65)
	for _, n := range []int{64, 65} {
		var file bytes.Buffer
		err := owp.Store(&file, &owp.Header{Finished: owp.Normal, NextSeq: 4, NumRecords: uint32(n), Spec: spec}, nil, func(yield func(owamp.Record, error) bool) {
			for _, r := range recs[:n] {
				if !yield(r, nil) {
					return
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		peer.Keep(spec.SID, file.Bytes())
		got.Reset()
		err = fetch.Of(t.Context(), connect(t, peer), &spec, 0, math.MaxUint32, &got)
		if n == 64 && (err != nil || got.Len() == 0) || n == 65 && (err == nil || got.Len() != 0) {
			t.Errorf("%d records of 4 packets: %v, %d octets", n, err, got.Len())
		}
	}
}

// fullDisk takes nothing.
type fullDisk struct{}

var errFull = errors.New("no space left on device")

func (fullDisk) Write([]byte) (int, error) { return 0, errFull }

func TestFullDisk(t *testing.T) {
	peer := pingtest.New(t, pingtest.Config{})
	sid, _ := keep(t, peer, "loss10.owp")
	if err := fetch.Whole(t.Context(), connect(t, peer), sid, fullDisk{}); !errors.Is(err, errFull) {
		t.Errorf("%v, want %v", err, errFull)
	}
}

func TestCanceled(t *testing.T) {
	peer := pingtest.New(t, pingtest.Config{})
	sid, _ := keep(t, peer, "loss10.owp")
	ctx, cancel := context.WithCancel(t.Context())
	c := connect(t, peer)
	cancel()
	var got bytes.Buffer
	if err := fetch.Whole(ctx, c, sid, &got); !errors.Is(err, context.Canceled) || got.Len() != 0 {
		t.Errorf("%v and %d octets, want %v", err, got.Len(), context.Canceled)
	}
}
