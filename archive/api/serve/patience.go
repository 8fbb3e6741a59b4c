package serve

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// A peer that lets this server wait for longer than grace, and a second for each
// leastRate octets, is no longer waited for.
const (
	grace     = 30 * time.Second
	leastRate = 16 << 10
)

// patience is what a peer has left of it in one direction of a request.
type patience struct {
	spent  time.Duration // waiting
	octets int64         // that have passed
}

// end returns until when to wait for the peer.
func (p *patience) end(now time.Time) time.Time {
	earned := time.Duration(p.octets/leastRate) * time.Second
	return now.Add(grace + earned - p.spent)
}

// passed takes note of n octets that were waited for since begun.
func (p *patience) passed(begun time.Time, n int) {
	p.spent += time.Since(begun)
	p.octets += int64(n)
}

// A body is that of a request, whose sender is waited for with patience.
type body struct {
	io.ReadCloser
	patience
	control *http.ResponseController
	ended   bool
}

// Read reads; its error is [os.ErrDeadlineExceeded] if the sender was too slow.
func (b *body) Read(p []byte) (int, error) {
	begun := time.Now()
	b.arm(begun)
	n, err := b.ReadCloser.Read(p)
	b.passed(begun, n)
	b.ended = b.ended || err != nil
	_ = b.control.SetReadDeadline(time.Time{}) // the time in which nobody reads is not the sender's
	return n, err
}

// arm has reads that follow end in time. A connection that has no deadlines, as in
// a test, has no slow peer.
func (b *body) arm(now time.Time) { _ = b.control.SetReadDeadline(b.end(now)) }

// An answer is what is written to a peer, who is waited for with patience.
type answer struct {
	http.ResponseWriter
	patience
	control *http.ResponseController
	body    *body // nil: there is none
	code    int   // 0: not yet
	cut     bool  // not all of it was taken
}

// Unwrap lets a [http.ResponseController] find what it is about.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader implements [http.ResponseWriter].
func (a *answer) WriteHeader(code int) {
	if a.code == 0 && code >= 200 {
		a.code = code
	}
	a.ResponseWriter.WriteHeader(code)
}

// Write implements [http.ResponseWriter].
func (a *answer) Write(p []byte) (int, error) {
	if a.code == 0 {
		a.code = http.StatusOK
	}
	begun := time.Now()
	a.arm(begun)
	n, err := a.ResponseWriter.Write(p)
	a.passed(begun, n)
	a.cut = a.cut || err != nil && !errors.Is(err, http.ErrBodyNotAllowed)
	_ = a.control.SetWriteDeadline(time.Time{}) // the time in which nobody writes is not the reader's
	return n, err
}

// FlushError sends what was written so far.
func (a *answer) FlushError() error {
	if a.code == 0 {
		a.code = http.StatusOK
	}
	begun := time.Now()
	a.arm(begun)
	err := a.control.Flush()
	a.passed(begun, 0)
	_ = a.control.SetWriteDeadline(time.Time{})
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

// Flush implements [http.Flusher].
func (a *answer) Flush() { _ = a.FlushError() }

func (a *answer) arm(now time.Time) { _ = a.control.SetWriteDeadline(a.end(now)) }

// wait returns what is written instead of to w, and has r read its body, so that
// the peer is waited for with patience.
func wait(w http.ResponseWriter, r *http.Request) *answer {
	control := http.NewResponseController(w)
	a := &answer{ResponseWriter: w, control: control}
	if r.Body != nil && r.Body != http.NoBody {
		a.body = &body{ReadCloser: r.Body, control: control}
		r.Body = a.body
	}
	_ = control.SetWriteDeadline(time.Time{}) // that of the request before this one
	return a
}

// finish bounds what package http does when the handler has returned: it writes
// what is left of the answer, and reads what is left of the body.
func (a *answer) finish() {
	now := time.Now()
	a.arm(now)
	if a.body != nil && !a.body.ended {
		a.body.arm(now)
	}
}
