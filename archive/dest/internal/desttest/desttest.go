// Package desttest has what the tests of destinations share.
package desttest

import (
	"strings"
	"testing"

	"owl/archive"
	"owl/archive/member"
	"owl/internal/testserver"
)

// An Opener reads the data of one archiver, as package dest knows it.
type Opener func(*member.Object, *archive.Spec) (archive.Opened, error)

// Open opens the destination of some data, as dest.Open does.
func Open(open Opener, data string) (archive.Opened, error) {
	o, err := member.Parse("/data", []byte(data))
	if err != nil {
		return archive.Opened{}, err
	}
	d, err := open(o, nil)
	if err == nil {
		o.Done()
		err = o.Err()
	}
	if err != nil && d.Destination != nil {
		d.Close()
	}
	return d, err
}

// MustOpen is Open for data that are right. The destination is closed when the
// test ends.
func MustOpen(t *testing.T, open Opener, data string) archive.Opened {
	t.Helper()
	d, err := Open(open, data)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// Item returns a result on its way.
func Item(id, payload string) *archive.Item { return &archive.Item{ID: id, Payload: []byte(payload)} }

// Deliver delivers a result.
func Deliver(t *testing.T, d archive.Opened, i *archive.Item) {
	t.Helper()
	if err := d.Deliver(t.Context(), i); err != nil {
		t.Fatal(err)
	}
}

// Fails checks that a result is not delivered, and why, which tells no password.
func Fails(t *testing.T, d archive.Opened, i *archive.Item, want string, final bool) {
	t.Helper()
	err := d.Deliver(t.Context(), i)
	if err == nil || !strings.Contains(err.Error(), want) || archive.IsFinal(err) != final {
		t.Errorf("%v, final %v, want %q, %v", err, archive.IsFinal(err), want, final)
	}
	if err != nil && strings.Contains(err.Error(), testserver.Password) {
		t.Errorf("%v: tells the password", err)
	}
}
