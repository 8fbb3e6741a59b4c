package owp

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"owl/owamp"
)

func TestRepair(t *testing.T) {
	recs := randomRecords(20)
	recs[19] = recs[0]
	spec := testSpec(20)
	var d disk
	if err := session(&d, recs, &spec, func(*Writer) error { return nil }); err != nil {
		t.Fatal(err)
	}
	size := len(d.octets)
	greatest := uint32(0)
	for _, r := range recs {
		if !r.Lost() {
			greatest = max(greatest, r.Seq)
		}
	}
	kept := func(recs []owamp.Record) []owamp.Record {
		return settle(recs, func(r owamp.Record) bool { return r.Seq <= greatest })
	}
	for _, tt := range []struct {
		name string
		file []byte
		want []owamp.Record
	}{
		{"whole", d.octets, kept(recs)},
		{"torn record", append(bytes.Clone(d.octets), 1, 2, 3), kept(recs)},
		{"records that never reached the disk", append(bytes.Clone(d.octets), make([]byte, 2*recordSize+7)...), kept(recs[:19])},
		{"a page that never reached the disk", slices.Concat(d.octets[:size-3*recordSize-11], make([]byte, 11+3*recordSize)), kept(recs[:16])},
		{"header only", d.octets[:sizeOfHeader(2)], nil},
	} {
		f := emptyFile(t)
		if _, err := f.Write(tt.file); err != nil {
			t.Fatal(err)
		}
		h, err := Repair(f)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		want := Header{Version: 3, Finished: Incomplete, NumRecords: uint32(len(tt.want)), Spec: spec}
		if diff := cmp.Diff(&want, h, compareAddr); diff != "" {
			t.Errorf("%s: header (-want +got):\n%s", tt.name, diff)
		}
		got := collect(t, mustParse(t, octets(t, f.Name())).Records())
		if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: records (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestRepairRefuses(t *testing.T) {
	c2s := octets(t, "testdata/skips/c2s.owp")
	binary.BigEndian.PutUint32(c2s[offFinished:], uint32(Incomplete))
	version2 := bytes.Clone(c2s)
	version2[offVersion+3] = 2
	copy(version2[offDataOffsetV2:], "\x00\x00\x00\x00\x00\x00\x00\xa4\x00\x00\x00\x02")
	copy(version2[offRequestV2:], c2s[offRequest:sizeOfHeader(1)])
	for name, tt := range map[string]struct {
		file []byte
		want string
	}{
		"fetched":   {c2s, "version 3 with 2 skip ranges and its records at octet 200: no receiver leaves that, want version 3, none, and 184"},
		"version 2": {version2, "version 2 with 0 skip ranges and its records at octet 164: no receiver leaves that, want version 3, none, and 184"},
		"damaged":   {c2s[:150], "octet 150: end of file within the header, want 152 octets"},
		"empty":     {nil, "octet 0: end of file within the header, want 16 octets"},
	} {
		f := emptyFile(t)
		if _, err := f.Write(tt.file); err != nil {
			t.Fatal(err)
		}
		if _, err := Repair(f); err == nil || err.Error() != f.Name()+": "+tt.want {
			t.Errorf("%s: error %v, want %s", name, err, tt.want)
		}
		if !bytes.Equal(octets(t, f.Name()), tt.file) {
			t.Errorf("%s: the file has changed", name)
		}
	}
}

// FuzzRepair holds that Repair, whatever it finds, leaves a file that it would
// leave as it is.
func FuzzRepair(f *testing.F) {
	spec := testSpec(8)
	var d disk
	if err := session(&d, randomRecords(8), &spec, func(*Writer) error { return nil }); err != nil {
		f.Fatal(err)
	}
	f.Add(d.octets)
	f.Add(append(bytes.Clone(d.octets), make([]byte, 60)...))
	f.Add(d.octets[:len(d.octets)-7])
	f.Fuzz(func(t *testing.T, b []byte) {
		file := emptyFile(t)
		if _, err := file.Write(b); err != nil {
			t.Fatal(err)
		}
		h, err := Repair(file)
		if err != nil {
			return
		}
		once := octets(t, file.Name())
		again, err := Repair(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(h, again, compareAddr); diff != "" {
			t.Errorf("header (-once +twice):\n%s", diff)
		}
		if !bytes.Equal(octets(t, file.Name()), once) {
			t.Error("the file has changed again")
		}
	})
}

// discarding is a file that takes everything.
