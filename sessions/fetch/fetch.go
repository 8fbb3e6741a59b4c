// Package fetch brings the sessions that a server has received to this host,
// as .owp files.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"owl/owamp"
	"owl/owamp/control"
	"owl/owamp/owp"
)

// patience is how long a server may be silent. The reference waits half a
// minute for a session to be over before it says that it is not.
const patience = time.Minute

// Whole fetches the session sid, which has ended, on the connection of c, on
// which none runs, and writes its file to w. A session without a record has a
// file, too. For errors see [Packets].
func Whole(ctx context.Context, c *control.Client, sid owamp.SID, w io.Writer) error {
	return Packets(ctx, c, sid, 0, math.MaxUint32, w)
}

// Packets fetches what there is of packets begin to end, both inclusive, of a
// session that may still run. Its file has the records of no others.
//
// A server that has no such session, or does not give it, is a
// [*control.DeniedError], after which, as after success, the connection can be
// used; other errors cost the connection, and leave part of a file in w.
func Packets(ctx context.Context, c *control.Client, sid owamp.SID, begin, end uint32, w io.Writer) error {
	return packets(ctx, c, sid, begin, end, w, nil)
}

// maxCopies is how many records a packet may have, in the mean of a session
// that is known: a network copies a packet once in a while, a server that tells
// of more wants to fill the disk.
const maxCopies = 16

// Of fetches packets begin to end of the session spec, which this host has
// asked for; 0 and [math.MaxUint32] are the whole session. It does as
// [Packets]; in addition a server that tells of another session, or of more
// records than a network could have made, is an error.
func Of(ctx context.Context, c *control.Client, spec *owamp.SessionSpec, begin, end uint32, w io.Writer) error {
	return packets(ctx, c, spec.SID, begin, end, w, func(head *control.Fetched) error {
		got := &head.Spec
		if got.Packets != spec.Packets || got.Start != spec.Start || got.Timeout != spec.Timeout || !slices.Equal(got.Slots, spec.Slots) {
			return fmt.Errorf("the server has a session %v of %d packets from %v on: want %d from %v on, by the schedule that was asked for",
				spec.SID, got.Packets, got.Start.Time(), spec.Packets, spec.Start.Time())
		}
		if most := maxCopies * uint64(spec.Packets); uint64(head.Records) > most {
			return fmt.Errorf("the server has %d records of the %d packets of session %v: want at most %d", head.Records, spec.Packets, spec.SID, most)
		}
		return nil
	})
}

// packets fetches a session that check, if not nil, agrees to.
func packets(ctx context.Context, c *control.Client, sid owamp.SID, begin, end uint32, w io.Writer, check func(*control.Fetched) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(patience, func() { cancel(context.DeadlineExceeded) })
	defer silence.Stop()

	var file *owp.Storer
	err := c.Fetch(ctx, sid, begin, end, func(head *control.Fetched) (func([]owamp.Record) error, error) {
		silence.Reset(patience)
		if check != nil {
			if err := check(head); err != nil {
				return nil, err
			}
		}
		var err error
		file, err = owp.NewStorer(w, &owp.Header{
			Finished:   owp.Finished(head.Finished),
			NextSeq:    head.NextSeq,
			NumRecords: head.Records,
			Spec:       head.Spec,
		}, head.Skips)
		return func(recs []owamp.Record) error {
			silence.Reset(patience)
			return file.Write(recs...)
		}, err
	})
	if _, denied := errors.AsType[*control.DeniedError](err); denied {
		return fmt.Errorf("Server denied request for session data: %w", err) //nolint:staticcheck // the C suite's words
	}
	if err != nil {
		return err
	}
	return file.Close()
}
