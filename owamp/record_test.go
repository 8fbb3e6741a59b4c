package owamp_test

import (
	"testing"
	"unsafe"

	"owl/owamp"
)

func TestRecordSize(t *testing.T) {
	if got := unsafe.Sizeof(owamp.Record{}); got > 32 {
		t.Errorf("a record takes %d octets, want at most 32", got)
	}
}

func TestRecordLost(t *testing.T) {
	if r := (owamp.Record{Sent: 1, Recv: 1}); r.Lost() {
		t.Error("a received packet is lost")
	}
	if r := (owamp.Record{Sent: 1}); !r.Lost() {
		t.Error("a packet without receive time is not lost")
	}
}
