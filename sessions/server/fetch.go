package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"time"

	"owl/owamp"
	"owl/owamp/control"
	"owl/owamp/owp"
)

// patience is how long a whole session is waited for that is asked for before
// it is over: as long as the reference does, which looks after 1, 3, 7, 15 and
// 31 s.
const patience = 31 * time.Second

// Fetch answers a Fetch-Session.
func (c *conversation) Fetch(ctx context.Context, sid owamp.SID, begin, end uint32) control.FetchAnswer {
	x := &extract{sid: sid, begin: begin, end: end}
	if err := c.prepareFetch(ctx, x); err != nil {
		x.close()
		if ctx.Err() != nil {
			return control.FetchAnswer{Accept: owamp.AcceptTemporaryLimit} // that nobody reads
		}
		return control.FetchAnswer{Accept: c.refused("Fetch", err)}
	}
	head := x.Header()
	return control.FetchAnswer{
		Fetched: control.Fetched{
			Spec:     head.Spec,
			Finished: uint8(head.Finished),
			NextSeq:  head.NextSeq,
			Skips:    x.Skips(),
			Records:  x.records,
		},
		Each: x.each,
		Done: func(err error) {
			x.close()
			if err == nil && x.whole() {
				c.fetched(sid)
			}
		},
	}
}

// An extract is what a peer fetches of a session.
type extract struct {
	sid        owamp.SID
	begin, end uint32 // packets, both inclusive
	*owp.Reader
	file    *File  // nil: the session has ended
	records uint32 // that there are
}

// whole reports whether all is asked for (RFC 4656 section 3.9).
func (x *extract) whole() bool { return x.begin == 0 && x.end == math.MaxUint32 }

func (x *extract) close() {
	if x.Reader != nil {
		x.Close()
		x.Reader = nil
	}
}

// prepareFetch opens what x asks for, if the peer may have it.
func (c *conversation) prepareFetch(ctx context.Context, x *extract) error {
	if _, err := c.count(); err != nil {
		return err
	}
	if err := c.mayFetch(x.sid); err != nil {
		return err
	}
	wait := time.NewTimer(patience)
	defer wait.Stop()
	for {
		e, ok := c.cfg.Store.lookup(x.sid)
		if !ok {
			return refuse(owamp.AcceptReject, "there is no session %v any more", x.sid)
		}
		x.file = e.recent
		if x.file == nil || !x.whole() {
			err := c.open(x, e)
			if !errors.Is(err, errSettling) {
				return err
			}
			x.close()
		}
		// It is settled in a moment, or all of it is waited for.
		select {
		case <-x.file.done:
		case <-wait.C:
			return refuse(owamp.AcceptReject, "session %v: Request for complete session, but session not yet terminated!", x.sid)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// mayFetch refuses the peer a session that is not for it. The answer is the same
// as if there were none.
func (c *conversation) mayFetch(sid owamp.SID) error {
	e, ok := c.cfg.Store.lookup(sid)
	if !ok {
		return refuse(owamp.AcceptReject, "there is no session %v", sid)
	}
	limits, owner := c.ledger.Limits(), e.account.Class()
	creator := c.cfg.Store.creator(sid, e)
	if limits.MayFetch(owner, creator, c.peer) {
		return nil
	}
	by := "somebody unknown"
	if text, err := creator.AppendText(nil); err == nil {
		by = string(text)
	}
	return refuse(owamp.AcceptReject, "class %s: fetch = %v: session %v is by %s", owner.Name(), owner.Fetch(), sid, by)
}

// open opens what x asks for, and counts it.
func (c *conversation) open(x *extract, e stored) error {
	var err error
	x.Reader, err = c.cfg.Store.open(x.sid, e)
	if errors.Is(err, fs.ErrNotExist) {
		return refuse(owamp.AcceptReject, "session %v: %v", x.sid, err)
	} else if err != nil {
		return err
	}
	head := x.Header()
	switch {
	case x.file != nil && x.file.settling.Load():
		return errSettling
	case head.Version != 3 || head.Finished == owp.Failed || head.Spec.SID != x.sid:
		return fmt.Errorf("session %v: a file of version %d, session %v, %v: want version 3, this session, and that it has not failed", x.sid, head.Version, head.Spec.SID, head.Finished)
	case x.whole() && head.Finished != owp.Normal:
		return refuse(owamp.AcceptReject, "session %v: it has no complete end: want a part of it to be asked for", x.sid)
	}
	return x.count()
}

// errSettling says that a file got its final content while it was read.
var errSettling = errors.New("the session was settled meanwhile: ask again")

// count counts the records that there are.
func (x *extract) count() error {
	if x.Header().Finished != owp.Normal {
		// What was declared lost after the last packet that came may not have
		// been sent.
		last, received := uint32(0), false
		for r, err := range x.stable() {
			if err != nil {
				return err
			}
			if !r.Lost() {
				last, received = max(last, r.Seq), true
			}
		}
		if !received {
			return nil
		}
		x.end = min(x.end, last)
	}
	n := x.Len()
	if !x.whole() {
		n = 0
		for _, err := range x.each {
			if err != nil {
				return err
			}
			n++
		}
	}
	if n > math.MaxUint32 {
		return fmt.Errorf("session %v: %d records: want at most %d", x.sid, n, uint32(math.MaxUint32))
	}
	x.records = uint32(n)
	return nil
}

// each yields the records that are asked for.
func (x *extract) each(yield func(owamp.Record, error) bool) {
	for r, err := range x.stable() {
		if err == nil && (r.Seq < x.begin || r.Seq > x.end) {
			continue
		}
		if !yield(r, err) {
			return
		}
	}
}

// stable yields all records. Those of a session that is settled meanwhile, which
// moves them, end with an error.
func (x *extract) stable() iter.Seq2[owamp.Record, error] {
	return func(yield func(owamp.Record, error) bool) {
		for r, err := range x.Records() {
			if x.file != nil && x.file.settling.Load() {
				r, err = owamp.Record{}, errSettling
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// fetched deletes a session that was fetched whole, if its class has it so.
func (c *conversation) fetched(sid owamp.SID) {
	e, ok := c.cfg.Store.lookup(sid)
	if !ok || !e.account.Class().DeleteOnFetch() {
		return
	}
	if err := c.cfg.Store.remove(sid); err != nil {
		c.log.Error(fmt.Sprintf("deleting session %v: %v", sid, err))
	}
}
