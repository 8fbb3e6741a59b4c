package clock

import (
	"errors"
	"io/fs"
	"testing"
	"time"
)

func TestOpenPHC(t *testing.T) {
	if p, err := OpenPHC(99999); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenPHC of a clock that is not there = %v, %v, want fs.ErrNotExist", p, err)
	}
}

// The card's clock goes on, and the crossings say of when they are.
func TestPHC(t *testing.T) {
	p, err := OpenPHC(0)
	if err != nil {
		t.Skipf("SKIPPED: no card's clock here: %v", err)
	}
	defer p.Close()
	before := time.Now().UnixNano()
	first, err := p.Cross()
	if err != nil {
		t.Skipf("SKIPPED: the card's clock cannot be read: %v", err)
	}
	second, err := p.Cross()
	if err != nil {
		t.Fatal(err)
	}
	after := time.Now().UnixNano()
	if first.Wall < before || second.Wall < first.Wall || second.Wall > after || second.Card < first.Card || first.Error < 0 {
		t.Errorf("crossings %+v and %+v between %d and %d: want both clocks to go on", first, second, before, after)
	}
}
