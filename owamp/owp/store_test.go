package owp

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"owl/owamp"
)

// all yields recs.
func all(recs []owamp.Record) iter.Seq2[owamp.Record, error] {
	return func(yield func(owamp.Record, error) bool) {
		for _, r := range recs {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// testSpec is a session of n packets.
func testSpec(n uint32) owamp.SessionSpec {
	return owamp.SessionSpec{
		ConfSender: true,
		Slots:      []owamp.Slot{{Type: owamp.SlotExponential, Parameter: 1 << 32}, {Type: owamp.SlotFixed, Parameter: 5}},
		Packets:    n,
		Sender:     netip.MustParseAddrPort("192.0.2.1:8760"),
		Receiver:   netip.MustParseAddrPort("192.0.2.2:8761"),
		SID:        sid("c0000202eeaba6088b2ba9d200000001"),
		Start:      0xeeaba608_00000000,
		Timeout:    2 << 32,
	}
}

// randomRecords returns records of n packets, one a second, some of them lost,
// some twice, in about the order of their times.
func randomRecords(n int) []owamp.Record {
	r := rand.New(rand.NewPCG(uint64(n), 4))
	start := testSpec(0).Start
	recs := make([]owamp.Record, n)
	for i := range recs {
		seq := max(0, i-r.IntN(3))
		recs[i] = owamp.Record{
			Seq:     uint32(seq),
			Sent:    start + owamp.Timestamp(seq)<<32,
			SentErr: owamp.UnknownError,
			RecvErr: owamp.ErrorEstimate(r.Uint32()&0x8fff | 1),
			TTL:     255,
		}
		if r.IntN(4) > 0 {
			recs[i].Recv = recs[i].Sent + owamp.Timestamp(r.Uint32())
			recs[i].SentErr = owamp.ErrorEstimate(r.Uint32()&0x8fff | 1)
			recs[i].TTL = uint8(r.Uint32())
		}
	}
	return recs
}

// stored returns a whole file.
func stored(tb testing.TB, recs []owamp.Record, skips []owamp.SkipRange) []byte {
	tb.Helper()
	n := uint32(len(recs))
	var b bytes.Buffer
	h := &Header{Finished: Normal, NextSeq: n, NumRecords: n, Spec: testSpec(n)}
	if err := Store(&b, h, skips, all(recs)); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// TestStoreGolden writes the files that the reference has fetched, octet for
// octet.
func TestStoreGolden(t *testing.T) {
	n := 0
	for _, path := range golden(t) {
		if !strings.Contains(path, "c2s") {
			continue
		}
		want := octets(t, path)
		r := mustParse(t, want)
		var got bytes.Buffer
		if err := Store(&got, r.Header(), r.Skips(), r.Records()); err != nil {
			t.Error(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s became\n%x, want\n%x", path, got.Bytes(), want)
		}
		n++
	}
	if n != 19 {
		t.Errorf("%d files, want 19", n)
	}
}

func TestStoreRefuses(t *testing.T) {
	broken := errors.New("broken")
	recs := randomRecords(3)
	breaking := func(yield func(owamp.Record, error) bool) { yield(owamp.Record{}, broken) }
	impossible := recs[0]
	impossible.RecvErr = 0x8000
	header := func(change func(*Header)) *Header {
		h := &Header{Finished: Incomplete, NumRecords: 3, Spec: testSpec(3)}
		change(h)
		return h
	}
	for _, tt := range []struct {
		name  string
		w     io.Writer
		h     *Header
		skips int
		recs  iter.Seq2[owamp.Record, error]
		want  string
	}{
		{"fewer", io.Discard, header(func(*Header) {}), 0, all(recs[1:]), "2 records, want 3 as the header says"},
		{"more", io.Discard, header(func(h *Header) { h.NumRecords = 2 }), 0, all(recs), "more than 2 records, want as many as the header says"},
		{"error", io.Discard, header(func(*Header) {}), 0, breaking, "broken"},
		{"impossible", io.Discard, header(func(*Header) {}), 0, all([]owamp.Record{impossible}), "want no multiplier of 0"},
		{"role", io.Discard, header(func(h *Header) { h.Spec.ConfSender = false }), 0, all(recs), "neither sends nor receives"},
		{"families", io.Discard, header(func(h *Header) { h.Spec.Sender = netip.MustParseAddrPort("[::1]:1") }), 0, all(recs), "want two addresses of one family"},
		{"no address", io.Discard, header(func(h *Header) { h.Spec.Sender = netip.AddrPort{} }), 0, all(recs), "want two addresses of one family"},
		{"slot", io.Discard, header(func(h *Header) { h.Spec.Slots = []owamp.Slot{{Type: 9}} }), 0, all(recs), "slot 0 of type 9: want 0 or 1"},
		{"slots", io.Discard, header(func(h *Header) { h.Spec.Slots = make([]owamp.Slot, maxSlots+1) }), 0, all(recs), "session of 1048577 slots: want at most 1048576"},
		{"skip ranges", io.Discard, header(func(*Header) {}), maxSkips + 1, all(recs), "4194305 skip ranges, want at most 4194304"},
		{"full", full{}, header(func(*Header) {}), 0, all(recs), "no space"},
	} {
		err := Store(tt.w, tt.h, make([]owamp.SkipRange, tt.skips), tt.recs)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want %s", tt.name, err, tt.want)
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }
