package sessions

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"sync"
	"time"

	"owl/owamp"
	"owl/owamp/control"
	"owl/sessions/fetch"
)

const (
	// fetchFor is for how long after its end a session is tried to be fetched:
	// whoever tidies up a server does so about once a day.
	fetchFor = 24 * time.Hour
	// maxDenials is how often a peer may say that it has not got a session, or
	// does not give it.
	maxDenials = 5
	// maxUnfetched bounds the sessions that wait for their fetching.
	maxUnfetched = 4096
	// settling is how long after the last time-out a receiver that was told
	// nothing may need to have all on disk.
	settling = 3 * time.Second
	// parting is how long it is fetched for after the end of the stream.
	parting = 250 * time.Millisecond
)

// A fetcher brings what the peer has recorded of the sessions of a stream in
// which this host sends. It takes one session after the other, in order of their
// starts, so that files are told of in that order, over one of its broker's
// lines, which no session has to wait for.
type fetcher struct {
	*Stream
	changed chan struct{} // the queue has changed
	back    chan struct{} // the peer is there again
	told    string        // the last failure that was logged; empty: it has worked since

	// What the stream ended without.
	packets uint64
	since   owamp.Timestamp
	why     error

	mu       sync.Mutex
	queue    []*session
	finished bool // nothing will be added
}

func newFetcher(s *Stream) *fetcher {
	return &fetcher{Stream: s, changed: make(chan struct{}, 1), back: make(chan struct{}, 1)}
}

// add gives the fetcher a session that was granted.
func (f *fetcher) add(s *session) {
	f.mu.Lock()
	f.queue = append(f.queue, s)
	f.mu.Unlock()
	wake(f.changed)
}

// retry makes the fetcher try at once what it would try later.
func (f *fetcher) retry() { wake(f.back) }

// finish says that there will be no more sessions.
func (f *fetcher) finish() {
	f.mu.Lock()
	f.finished = true
	f.mu.Unlock()
	wake(f.changed)
}

// wake wakes who waits for c, now or next.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// head returns the session whose turn it is, nil if there is none, and whether
// there may be one later.
func (f *fetcher) head() (s *session, more bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) > 0 {
		return f.queue[0], true
	}
	return nil, !f.finished
}

// pop removes the first session.
func (f *fetcher) pop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue[0] = nil
	f.queue = f.queue[1:]
}

// crowded reports whether more sessions wait than may.
func (f *fetcher) crowded() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.queue) > maxUnfetched
}

// run fetches until the fetcher is finished. When ctx is done each session that
// is left is tried once, in as much time as there is then.
func (f *fetcher) run(ctx context.Context) {
	last, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(parting, end) })()
	for {
		s, more := f.head()
		switch {
		case s != nil:
			f.parts(ctx, s)
			f.await(ctx, last, s)
			f.whole(ctx, last, s)
			f.pop()
		case more && ctx.Err() == nil:
			f.rest(ctx, math.MaxInt64, f.changed)
		case more:
			<-f.changed
		default:
			f.tellUnfetched()
			return
		}
	}
}

// rest waits for d, until wake is ready or ctx is done.
func (f *fetcher) rest(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-wake:
	case <-ctx.Done():
	}
}

// await waits for the end of s. When the stream ends meanwhile a connection is
// made already, for there will be little time.
func (f *fetcher) await(ctx, last context.Context, s *session) {
	f.rest(ctx, math.MaxInt64, s.sent.ended)
	if !s.sent.isOver() {
		if l, err := f.broker.line(last); err == nil {
			_ = l.connect(last) // who needs it asks again
			l.release()
		}
		<-s.sent.ended
	}
}

// get fetches packets begin to end of s into file, over a connection that there
// is, or, if that has gone stale, over a new one.
func (f *fetcher) get(ctx context.Context, s *session, begin, end uint32, file File) error {
	l, err := f.broker.line(ctx)
	if err != nil {
		return err
	}
	defer l.release()
	for {
		fresh := l.client == nil
		if err := l.connect(ctx); err != nil {
			return err
		}
		err := fetch.Of(ctx, l.client, &s.spec, begin, end, file)
		if err == nil {
			return nil
		}
		if _, denied := errors.AsType[*control.DeniedError](err); denied {
			return &failure{GapRefused, err}
		}
		l.hangUp()
		_, lost := errors.AsType[*control.ConnError](err)
		if !lost {
			return err
		}
		if fresh || ctx.Err() != nil {
			return &failure{GapControlLost, err}
		}
		if err := truncate(file); err != nil {
			return err
		}
	}
}

// truncate empties a file.
func truncate(file File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.Seek(0, 0)
	return err
}

// parts fetches the parts of s, and writes their summaries, while it runs. What
// is left of them at its end is found in the whole of it.
func (f *fetcher) parts(ctx context.Context, s *session) {
	if err := s.beginParts(); err != nil {
		f.log.Error(err.Error())
		return
	}
	var wait time.Duration
	for s.sent.more && s.sent.part.Last < s.spec.Packets {
		due := s.sent.part.End.Add(s.cfg.Timeout).AddDuration(s.partDelay())
		f.rest(ctx, max(due.Sub(f.cfg.Clock.Now()), wait), s.sent.ended)
		switch {
		case ctx.Err() != nil || s.sent.isOver():
			return
		case due.Sub(f.cfg.Clock.Now()) > 0: // the clock was set
			continue
		}
		err := f.part(ctx, s)
		switch {
		case err == nil:
			wait, f.told = 0, ""
		case ctx.Err() == nil:
			wait = f.putOff(s, wait, err)
		}
	}
}

// errUnsettled says that a packet has no record yet.
var errUnsettled = errors.New("the peer has not recorded all of it yet")

// part fetches the next part of s and writes its summary.
func (f *fetcher) part(ctx context.Context, s *session) error {
	file, err := s.beginPart()
	if err != nil {
		return err
	}
	defer s.endPart(file)
	if err := f.get(ctx, s, s.sent.part.First, s.sent.part.Last-1, file); err != nil {
		return err
	}
	return s.writeFetchedPart(file)
}

// putOff returns how long to wait after a failure, and the wait before it, and
// tells of the failure.
func (f *fetcher) putOff(s *session, wait time.Duration, err error) time.Duration {
	wait = min(max(2*wait, firstRetry), f.cfg.RetryCap)
	level := slog.LevelWarn
	if errors.Is(err, errUnsettled) || f.told == err.Error() {
		level = slog.LevelDebug
	}
	f.told = err.Error()
	f.log.Log(context.Background(), level, fmt.Sprintf("fetching session %v: %v; trying again in %v", s.spec.SID, err, wait))
	return wait
}

// whole fetches all of s, which has ended, until it has come or there is no
// hope left, and writes its files.
func (f *fetcher) whole(ctx, last context.Context, s *session) {
	if s.sent.report.NextSeq == 0 {
		s.track.Fetched(0, 0)
		return
	}
	if !s.sent.stopped {
		f.rest(ctx, time.Until(s.settledAt()), nil)
	}
	var wait time.Duration
	denials := 0
	for {
		hurry := ctx.Err() != nil
		err := f.try(ctx, last, s)
		if err == nil {
			f.told = ""
			return
		}
		if ctx.Err() != nil {
			if !hurry {
				continue // once more, in the time that is left
			}
			f.unfetched(s, err)
			return
		}
		accept, no := refused(err)
		if no && accept != owamp.AcceptTemporaryLimit && time.Now().After(s.settledAt()) {
			denials++
		}
		if denials == maxDenials || no && accept == owamp.AcceptNotSupported ||
			errors.Is(err, fs.ErrExist) || time.Since(s.sent.at) > fetchFor || f.crowded() {
			f.giveUp(s, err)
			return
		}
		wait = f.putOff(s, wait, err)
		if no {
			f.rest(ctx, wait, nil)
		} else {
			f.rest(ctx, wait, f.back)
		}
	}
}

// try tries once to fetch all of s.
func (f *fetcher) try(ctx, last context.Context, s *session) error {
	file, err := s.begin()
	if err != nil {
		return err
	}
	s.file = file
	defer func() {
		if s.file != nil {
			s.discard()
		}
	}()
	if err := f.getAll(ctx, last, s); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	return s.writeFetched(ctx.Err() == nil)
}

// refused reports whether err is the peer's answer that it does not give a
// session, and which. A peer that does not let this host in has not said so.
func refused(err error) (owamp.Accept, bool) {
	if denied, ok := errors.AsType[*control.DeniedError](err); ok && reasonOf(err) == GapRefused {
		return denied.Accept, true
	}
	return 0, false
}

// getAll fetches all records of s into its file. A peer that was not told of the
// end, or was about to end itself, may refuse the whole for ever, but not what
// was sent by then; the same is asked for where time is short, for some peers
// take their time over the whole.
func (f *fetcher) getAll(ctx, last context.Context, s *session) error {
	if ctx.Err() != nil {
		return f.get(last, s, 0, s.sent.report.NextSeq-1, s.file)
	}
	if s.sent.stopped {
		err := f.get(ctx, s, 0, math.MaxUint32, s.file)
		if accept, no := refused(err); !no || accept != owamp.AcceptReject || time.Now().Before(s.settledAt()) {
			return err
		}
	}
	return f.get(ctx, s, 0, s.sent.report.NextSeq-1, s.file)
}

// giveUp leaves s to the peer: its time was not measured. What broke the session
// itself counts for more than what it has led to.
func (f *fetcher) giveUp(s *session, err error) {
	reason := reasonOf(err)
	if !s.sent.stopped {
		reason = s.sent.reason
	}
	f.log.Error(fmt.Sprintf("session %v is not to be had from the peer: %v", s.spec.SID, err))
	f.tellGap(reason, s.known(), s.sent.until, err.Error(), false)
	f.lose(s, reason)
}

// unfetched notes that the stream ends without s.
func (f *fetcher) unfetched(s *session, err error) {
	if f.packets == 0 {
		f.since, f.why = s.known(), err
	}
	f.packets += uint64(s.sent.report.NextSeq - s.sent.part.First)
	if from := s.known(); f.results != nil && from.Before(s.sent.until) {
		f.results.gap(GapRestarted, from, s.sent.until, err.Error(), false)
	}
	f.lose(s, GapRestarted)
}

// lose accounts for a session that was not fetched.
func (f *fetcher) lose(s *session, reason GapReason) {
	if from := s.known(); from.Before(s.sent.until) {
		f.tally.Gap(reason, s.sent.until.Sub(from))
	}
	s.track.Fetched(s.sent.received, s.sent.lost)
}

// tellUnfetched tells what the stream ends without.
func (f *fetcher) tellUnfetched() {
	if f.packets > 0 {
		f.log.Warn(fmt.Sprintf("ended before what the peer has recorded of %d packets since %s was fetched: %v", f.packets, logTime(f.since), f.why))
	}
}
