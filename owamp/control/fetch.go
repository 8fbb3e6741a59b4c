package control

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"time"

	"owl/owamp"
)

// defaultMaxSlots bounds the slots of one session: 1 MiB of them.
const defaultMaxSlots = 1 << 16

// fetchBatch is how many records of a fetched session are held at a time, 16 KB
// of them. It is a multiple of 16, which are the fewest that fill whole blocks.
const fetchBatch = 640

// fetched is what errors call all that follows a Fetch-Ack.
const fetched = "a fetched session"

// A Fetched is what a server says of a session before it sends its records.
type Fetched struct {
	Spec     owamp.SessionSpec // with the ports and the SID that it had
	Finished uint8             // as in the .owp file: 0 failed, 1 normal, 2 incomplete
	NextSeq  uint32            // as in [owamp.SendReport]; 0 when it is not known yet
	Skips    []owamp.SkipRange // of the whole session; none ends before it begins, but they may overlap
	Records  uint32            // that follow; 0 is not an error, nothing of what was asked for is recorded yet
}

// Fetch fetches the records of packets begin to end, both inclusive, of the
// session sid (RFC 4656 section 3.9); 0 and [math.MaxUint32] are the whole
// session, which must have ended. It is called while no session runs on the
// connection.
//
// First emit is told of the session; what it returns is given the records, in
// batches that are valid until it returns and in the order in which the
// server's receiver wrote them, which is not that of the sequence numbers. Of
// the records, however many, only a batch is held at a time. That a batch is
// the server's, and that there are as many as was said, is known only once
// Fetch has returned nil.
//
// A [*DeniedError], before emit is called, is a server that has no such
// session, does not give it, or has not got the whole of it yet; the
// connection can be used. So it can after nil. An error of emit, or of what it
// returns, is returned as it is and costs the connection, for the rest of the
// session is still on its way.
func (c *Client) Fetch(ctx context.Context, sid owamp.SID, begin, end uint32,
	emit func(*Fetched) (func([]owamp.Record) error, error),
) error {
	if err := c.usable(); err != nil {
		return err
	}
	if c.running() {
		return errors.New("fetching a session: those that run have not been stopped")
	}
	if begin > end {
		return fmt.Errorf("fetching session %v: packets %d to %d: want the begin not after the end", sid, begin, end)
	}
	if ctx.Err() != nil {
		return &ConnError{"writing Fetch-Session", context.Cause(ctx)}
	}
	request := owamp.FetchSession{Begin: begin, End: end, SID: sid}
	var ack owamp.FetchAck
	err := during(ctx, c.s.conn.SetDeadline, func() (err error) {
		if ack, err = c.askFor(&request); err != nil || ack.Accept != owamp.AcceptOK {
			return err
		}
		head, err := c.readFetched(&request, &ack)
		if err != nil {
			return err
		}
		sink, err := emit(head)
		if err != nil {
			return err
		}
		return c.readRecords(&request, head, sink)
	})
	switch {
	case err != nil:
		return c.fail(err)
	case ack.Accept != owamp.AcceptOK:
		return &DeniedError{Step: "Fetch-Ack", Accept: ack.Accept}
	}
	return nil
}

// askFor sends a Fetch-Session and reads the answer.
func (c *Client) askFor(request *owamp.FetchSession) (owamp.FetchAck, error) {
	const message = "Fetch-Ack"
	if err := c.s.send("Fetch-Session", request.Append(nil)); err != nil {
		return owamp.FetchAck{}, err
	}
	var b [owamp.FetchAckSize]byte
	if err := c.s.readMessage(message, b[:]); err != nil {
		return owamp.FetchAck{}, err
	}
	ack, err := owamp.ParseFetchAck(&b)
	switch {
	case err != nil:
	case ack.Finished > 2:
		err = fmt.Errorf("finished is %d, want 0, 1 or 2", ack.Finished)
	case uint64(ack.Skips) > uint64(c.maxSkips):
		err = fmt.Errorf("%d skip ranges, want at most %d", ack.Skips, c.maxSkips)
	}
	return ack, garbage(message, err)
}

// readFetched reads what comes before the records.
func (c *Client) readFetched(request *owamp.FetchSession, ack *owamp.FetchAck) (*Fetched, error) {
	var b [owamp.RequestSize]byte
	if err := within(c.s.readMessage(fetched, b[:])); err != nil {
		return nil, err
	}
	spec, slots, err := owamp.ParseRequest(&b)
	switch {
	case err != nil:
	case spec.SID != request.SID:
		err = fmt.Errorf("session %v, want %v", spec.SID, request.SID)
	case slots == 0 || uint64(slots) > uint64(c.maxSlots):
		err = fmt.Errorf("schedule of %d slots, want 1 to %d", slots, c.maxSlots)
	case ack.NextSeq > spec.Packets:
		err = fmt.Errorf("next sequence number %d, want at most %d, the packets of the session", ack.NextSeq, spec.Packets)
	}
	if err != nil {
		return nil, garbage(fetched, err)
	}
	if spec.Slots, err = c.s.readSlots(fetched, slots); err != nil {
		return nil, err
	}
	head := &Fetched{Spec: spec, Finished: ack.Finished, NextSeq: ack.NextSeq, Records: ack.Records}
	head.Skips, err = c.s.readSkips(fetched, ack.Skips)
	return head, err
}

// readSkips reads n skip ranges and their HMAC block; memory grows no faster
// than octets arrive.
func (s *stream) readSkips(message string, n uint32) ([]owamp.SkipRange, error) {
	var skips []owamp.SkipRange
	var b [owamp.BlockSize]byte
	for i := range n {
		half := b[i%2*owamp.SkipRangeSize:]
		if i%2 == 0 {
			if err := s.readRest(message, b[:]); err != nil {
				return nil, err
			}
		}
		skip, err := owamp.ParseSkip((*[owamp.SkipRangeSize]byte)(half))
		if err != nil {
			return nil, garbage(message, err)
		}
		skips = append(skips, skip)
	}
	return skips, s.readHMAC(message)
}

// readRecords reads the records, and hands them to sink batch by batch.
func (c *Client) readRecords(request *owamp.FetchSession, head *Fetched, sink func([]owamp.Record) error) error {
	most := min(head.Records, fetchBatch)
	octets := make([]byte, wholeBlocks(int(most)*owamp.RecordSize))
	recs := make([]owamp.Record, most)
	for left := head.Records; left > 0; {
		n := min(left, fetchBatch)
		left -= n
		b := octets[:wholeBlocks(int(n)*owamp.RecordSize)]
		if err := c.s.readRest(fetched, b); err != nil {
			return err
		}
		recs = recs[:n]
		for i := range recs {
			r, err := owamp.ParseRecord((*[owamp.RecordSize]byte)(b[i*owamp.RecordSize:]))
			switch {
			case err != nil:
			case r.Seq >= head.Spec.Packets:
				err = fmt.Errorf("record of packet %d in a session of %d", r.Seq, head.Spec.Packets)
			case r.Seq < request.Begin || r.Seq > request.End:
				err = fmt.Errorf("record of packet %d, want packets %d to %d", r.Seq, request.Begin, request.End)
			}
			if err != nil {
				return garbage(fetched, err)
			}
			recs[i] = r
		}
		if err := sink(recs); err != nil {
			return err
		}
	}
	return c.s.readHMAC(fetched)
}

// wholeBlocks rounds a number of octets up to whole blocks.
func wholeBlocks(octets int) int {
	return (octets + owamp.BlockSize - 1) / owamp.BlockSize * owamp.BlockSize
}

// A Fetcher is a [Handler] that has the results of sessions, those of other
// connections too. To the client of a handler that is none each Fetch-Session
// is not supported.
type Fetcher interface {
	// Fetch says what to answer to a Fetch-Session for packets begin to end,
	// both inclusive and in this order, of session sid; 0 and [math.MaxUint32]
	// are the whole session, which is refused while it runs (RFC 4656 section
	// 3.9). It is not called while sessions of this connection run. The peer
	// may be anyone: who may fetch what is the handler's to say. The context
	// ends also when the peer goes while it waits for the answer.
	Fetch(ctx context.Context, sid owamp.SID, begin, end uint32) FetchAnswer
}

// A FetchAnswer is the answer to a Fetch-Session.
type FetchAnswer struct {
	// Accept is AcceptOK, or refuses; the fields below are not looked at then,
	// but for Done.
	Accept owamp.Accept
	Fetched
	// Each yields the records that were asked for, as their receiver wrote
	// them. It is used once, and not at all if Records is 0; those beyond the
	// first Records are not asked of it, so that a session may grow meanwhile.
	// An error, or fewer, ends the connection.
	Each iter.Seq2[owamp.Record, error]
	// Done, if not nil, is called once when all was handed to the peer's
	// connection, or with an error when that failed: the place to close a file,
	// and to delete one that need not be fetched again.
	Done func(error)
}

// fetch answers a Fetch-Session.
func (s *server) fetch(ctx context.Context, head *[owamp.BlockSize]byte) error {
	const message = "Fetch-Session"
	var b [owamp.FetchSessionSize]byte
	n := copy(b[:], head[:])
	if err := within(s.s.readMessage(message, b[n:])); err != nil {
		return err
	}
	request, err := owamp.ParseFetchSession(&b)
	if err != nil {
		return garbage(message, err)
	}
	a := FetchAnswer{Accept: owamp.AcceptNotSupported}
	if fetcher, ok := s.h.(Fetcher); ok {
		a.Accept = owamp.AcceptReject
		if request.Begin <= request.End {
			err = s.attended(ctx, func(ctx context.Context) {
				a = fetcher.Fetch(ctx, request.SID, request.Begin, request.End)
			})
		}
	}
	if err == nil {
		err = s.sendFetched(&a)
	}
	if a.Done != nil {
		a.Done(err)
	}
	return err
}

// attended runs f, whose context ends when the peer closes the connection, which
// is then the error. What the peer sends meanwhile is read later.
func (s *server) attended(ctx context.Context, f func(context.Context)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	_ = s.s.conn.SetReadDeadline(time.Time{})
	lost := make(chan error, 1)
	go func() {
		_, err := s.s.in.Peek(1)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil // f has returned
		} else if err != nil {
			err = &ConnError{"answering Fetch-Session", err}
			cancel(err)
		}
		lost <- err
	}()
	f(ctx)
	_ = s.s.conn.SetReadDeadline(longAgo)
	return <-lost
}

// sendFetched sends an answer, in memory that does not depend on its length.
func (s *server) sendFetched(a *FetchAnswer) error {
	s.s.putMessage(owamp.FetchAck{
		Accept:   a.Accept,
		Finished: a.Finished,
		NextSeq:  a.NextSeq,
		Skips:    uint32(len(a.Skips)),
		Records:  a.Records,
	}.Append(nil))
	if a.Accept != owamp.AcceptOK {
		return s.deliver("Fetch-Ack")
	}
	s.s.putMessage(a.Spec.AppendRequest(nil))
	var hmac [owamp.BlockSize]byte
	for slots := range slices.Chunk(a.Spec.Slots, fetchBatch) {
		s.s.putBlocks(owamp.AppendSlots(nil, slots))
		if err := s.deliver(fetched); err != nil {
			return err
		}
	}
	s.s.putMessage(hmac[:])
	for skips := range slices.Chunk(a.Skips, 2*fetchBatch) {
		s.s.putBlocks(owamp.AppendSkips(nil, skips))
		if err := s.deliver(fetched); err != nil {
			return err
		}
	}
	s.s.putMessage(hmac[:])
	if err := s.sendRecords(a); err != nil {
		return err
	}
	s.s.putMessage(hmac[:])
	return s.deliver(fetched)
}

// sendRecords sends the records of an answer, and holds back what is less than
// a batch.
func (s *server) sendRecords(a *FetchAnswer) error {
	if a.Records == 0 {
		return nil
	}
	var n uint32
	b := make([]byte, 0, wholeBlocks(int(min(a.Records, fetchBatch))*owamp.RecordSize))
	for r, err := range a.Each {
		if err != nil {
			return fmt.Errorf("sending session %v: %w", a.Spec.SID, err)
		}
		b = r.Append(b)
		if n++; n == a.Records {
			break
		}
		if n%fetchBatch == 0 {
			s.s.putBlocks(b)
			if err := s.deliver(fetched); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	if n < a.Records {
		return fmt.Errorf("sending session %v: %d records, want the %d that were announced", a.Spec.SID, n, a.Records)
	}
	s.s.putBlocks(append(b, make([]byte, wholeBlocks(len(b))-len(b))...))
	return nil
}

// deliver sends what was put, which the peer has to take in time.
func (s *server) deliver(message string) error {
	_ = s.s.conn.SetWriteDeadline(time.Now().Add(s.cfg.HandshakeTimeout))
	return s.s.flush(message)
}
