package tstat

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"owl/archive"
	"owl/archive/transform"
)

// A Transport brings slices to where they are wanted.
type Transport interface {
	// Send returns nil once the receiver has said that it has the slice, which is
	// an array in JSON, indented, and not to be kept. One that was sent and not
	// confirmed is sent again in another run.
	Send(ctx context.Context, slice []byte) error
	// Close gives back what the transport has open.
	Close() error
}

// A dump writes slices to a file, as they are.
type dump struct{ w io.Writer }

// Dump returns a transport that writes slices to w, each with a line feed behind
// it.
func Dump(w io.Writer) Transport { return dump{w} }

func (d dump) Send(_ context.Context, slice []byte) error {
	if _, err := d.w.Write(slice); err != nil {
		return err
	}
	_, err := d.w.Write([]byte{'\n'})
	return err
}

func (dump) Close() error { return nil }

// An archiver is a transport that is a destination of results.
type archiver struct {
	destination archive.Opened
	transform   *transform.Transform
}

// Archiver returns a transport to where the specification s says, which open
// opens. A slice is one item for it, in one line, with a sum of it as its ID.
func Archiver(s *archive.Spec, open archive.Opener) (Transport, error) {
	switch {
	case s.TTL != 0:
		return nil, errors.New("/ttl: want none: what was not delivered stays in its log")
	case s.Runs != "":
		return nil, errors.New("/runs: want none: flows neither succeed nor fail")
	case s.URIHost != "":
		return nil, errors.New("/uri-host: want none: flows have no addresses of tasks and runs")
	case s.Raw:
		return nil, errors.New("/output-raw: it wants packets, which logs of flows do not have")
	}
	d, err := open(s)
	if err != nil {
		return nil, err
	}
	return &archiver{d, s.Transform}, nil
}

func (a *archiver) Send(ctx context.Context, slice []byte) error {
	var line bytes.Buffer
	if err := json.Compact(&line, slice); err != nil {
		return err
	}
	item := archive.Item{ID: fmt.Sprintf("%x", sha256.Sum256(slice))[:32], Payload: line.Bytes()}
	if a.transform != nil {
		made, err := a.transform.Apply(ctx, item.Payload)
		if errors.Is(err, transform.ErrDiscarded) {
			return nil
		}
		if err != nil {
			return err
		}
		item.Payload = made
	}
	return a.destination.Deliver(ctx, &item)
}

func (a *archiver) Close() error { return a.destination.Close() }
