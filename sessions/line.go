package sessions

import (
	"context"
	"sync"
	"time"

	"owl/owamp/control"
)

const (
	// maxLines bounds the connections over which streams with the same server
	// fetch at a time.
	maxLines = 4
	// idleFetch is for how long a connection waits for the next fetch.
	idleFetch = time.Minute
)

// A line is a control connection over which sessions are fetched, one after the
// other, by whoever has it.
type line struct {
	broker *Broker
	mu     sync.Mutex // held by who has it
	client *control.Client
	idle   *time.Timer
}

// line waits for a line that nobody has.
func (b *Broker) line(ctx context.Context) (*line, error) {
	select {
	case l := <-b.lines:
		l.mu.Lock()
		if l.idle != nil {
			l.idle.Stop()
		}
		return l, nil
	case <-ctx.Done():
		return nil, &failure{GapPeerUnreachable, context.Cause(ctx)}
	}
}

// release gives the line back. It stays connected for a while.
func (l *line) release() {
	l.idle = time.AfterFunc(idleFetch, func() {
		if l.mu.TryLock() { // else somebody has it
			l.hangUp()
			l.mu.Unlock()
		}
	})
	l.mu.Unlock()
	l.broker.lines <- l
}

// connect sees to it that there is a connection.
func (l *line) connect(ctx context.Context) error {
	if l.client != nil {
		return nil
	}
	if err := l.broker.missing(); err != nil {
		return err
	}
	setup, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	var err error
	switch l.client, _, err = l.broker.connect(setup); {
	case err == nil:
		l.broker.met()
	case ctx.Err() != nil:
		l.broker.missed(nil) // there was no time
	default:
		l.broker.missed(err)
	}
	return err
}

// hangUp closes the connection. Who has the line calls it.
func (l *line) hangUp() {
	if l.idle != nil {
		l.idle.Stop()
	}
	if l.client != nil {
		l.client.Close()
	}
	l.client = nil
}
