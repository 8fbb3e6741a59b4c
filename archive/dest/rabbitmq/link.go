package rabbitmq

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"owl/archive"
)

const (
	heartbeat   = 10 * time.Second
	maxFrame    = 128 << 10 // octets
	hangupLimit = 2 * time.Second
)

// A link is a connection to a broker with one channel that confirms. It carries
// one message at a time, so that what the broker gives back belongs to that one.
type link struct {
	net      net.Conn
	conn     *amqp.Connection
	channel  *amqp.Channel
	returned chan amqp.Return
	closed   chan *amqp.Error
	blocked  atomic.Pointer[string] // why the broker takes nothing; nil: it does
}

// dial connects to a broker and logs in, within limit.
func dial(ctx context.Context, a *address, limit time.Duration) (*link, error) {
	short, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	l, err := connect(short, a)
	switch {
	case err == nil:
		return l, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case short.Err() != nil:
		err = fmt.Errorf("no answer within %v", limit)
	}
	return nil, fmt.Errorf("failed to connect to %s: %w", net.JoinHostPort(a.host, a.port), err)
}

// connect connects until ctx is done.
func connect(ctx context.Context, a *address) (_ *link, err error) {
	secure, err := a.tls()
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(a.host, a.port))
	if err != nil {
		return nil, err
	}
	// amqp knows no contexts: what it waits for ends with the connection.
	giveUp := context.AfterFunc(ctx, func() { conn.Close() })
	defer func() {
		if !giveUp() && err == nil {
			err = ctx.Err()
		}
		if err != nil {
			conn.Close()
		}
	}()
	l := &link{net: conn, returned: make(chan amqp.Return, 1), closed: make(chan *amqp.Error, 1)}
	if secure != nil {
		t := tls.Client(conn, secure)
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		l.net = t
	}
	config := amqp.Config{
		Vhost:      a.vhost,
		Heartbeat:  cmp.Or(a.heartbeat, heartbeat),
		FrameSize:  maxFrame,
		Locale:     "en_US",
		Properties: amqp.Table{"product": "Owl", "connection_name": cmp.Or(a.program, "owl archive")},
	}
	for _, m := range a.logins {
		config.SASL = append(config.SASL, a.login(m))
	}
	if l.conn, err = amqp.Open(l.net, config); err != nil {
		return nil, err
	}
	go l.watch(l.conn.NotifyBlocked(make(chan amqp.Blocking, 1)))
	if l.channel, err = l.conn.Channel(); err != nil {
		return nil, err
	}
	l.channel.NotifyReturn(l.returned)
	l.channel.NotifyClose(l.closed)
	if err := l.channel.Confirm(false); err != nil {
		return nil, err
	}
	return l, nil
}

// watch notes whether the broker takes messages, until the connection is closed.
func (l *link) watch(all <-chan amqp.Blocking) {
	for b := range all {
		if b.Active {
			l.blocked.Store(&b.Reason)
		} else {
			l.blocked.Store(nil)
		}
	}
}

// publish sends a message and waits, within limit, until the broker has confirmed
// it. It reports whether the link can be used again.
func (l *link) publish(ctx context.Context, limit time.Duration, exchange, key string, m amqp.Publishing) (again bool, err error) {
	short, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// A broker that takes nothing stops reading, so that writing waits as well.
	giveUp := context.AfterFunc(short, func() { l.net.Close() })
	defer func() {
		if !giveUp() {
			again = false
		}
	}()
	confirmed, err := l.channel.PublishWithDeferredConfirm(exchange, key, true, false, m)
	if err == nil {
		<-confirmed.Done() // also when the channel is closed
	}
	switch {
	case err == nil && confirmed.Acked():
		return true, l.routed()
	case ctx.Err() != nil:
		return false, ctx.Err()
	case short.Err() != nil:
		if why := l.blocked.Load(); why != nil {
			return false, fmt.Errorf("not confirmed within %v: the broker takes nothing: %s", limit, *why)
		}
		return false, fmt.Errorf("not confirmed within %v", limit)
	case l.channel.IsClosed():
		return false, refused(l.why(err))
	case err != nil:
		return false, fmt.Errorf("failed to publish: %w", err)
	}
	return true, errors.New("the broker refuses the message (nack)")
}

// routed reports as an error that the broker has given the message back, which
// it does before it confirms it.
func (l *link) routed() error {
	select {
	case r := <-l.returned:
		return fmt.Errorf("no queue takes the message: %d %s: exchange %q, routing key %q", r.ReplyCode, r.ReplyText, r.Exchange, r.RoutingKey)
	default:
		return nil
	}
}

// why returns why the channel is closed, or else err.
func (l *link) why(err error) error {
	select {
	case e, ok := <-l.closed:
		if ok && e != nil {
			return e
		}
	default:
	}
	if err == nil {
		err = amqp.ErrClosed
	}
	return err
}

// refused returns err, which has closed the channel of a message, as what it
// means for that message: one that is too long remains so.
func refused(err error) error {
	failed := fmt.Errorf("failed to publish: %w", err)
	if e, ok := errors.AsType[*amqp.Error](err); ok && (e.Code == amqp.PreconditionFailed || e.Code == amqp.ContentTooLarge) {
		return archive.Final(failed)
	}
	return failed
}

// close ends the connection, with a word if the broker listens.
func (l *link) close() {
	_ = l.conn.CloseDeadline(time.Now().Add(hangupLimit)) // it is closed in any case
	l.net.Close()
}
