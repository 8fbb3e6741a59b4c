// Package rabbitmq sends results to a RabbitMQ broker.
//
// A result is delivered when the broker has confirmed it. One that no queue takes
// is not: the broker is told to give it back (mandatory), which is a failure. It
// arrives at least once; repeats have the same message-id, which is the result's
// ID. Some are on their way at once, so that messages are not in order.
package rabbitmq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"owl/archive"
	"owl/archive/dest/internal/pool"
	"owl/archive/member"
	"owl/archive/retry"
	"owl/archive/transform"
)

const (
	parallel       = 4 // results that are on their way at once
	defaultTimeout = 10 * time.Second
	defaultLife    = time.Hour
	maxName        = 255 // octets of an exchange or a routing key (AMQP 0-9-1, section 4.2.5.3)
)

// A destination is an exchange of a broker.
type destination struct {
	pool       pool.Pool[*link]
	exchange   string
	key        string
	keyOf      *transform.Transform // makes the routing key; nil: it is key
	persistent bool
	timeout    time.Duration // of connecting, and of a result
}

// Open reads the data of the archiver rabbitmq, schemas 1 to 3, and notes in o
// what is wrong with them. Beside what pScheduler has, there may be persistent,
// which says whether messages outlive a restart of the broker (true), and
// parameters of the URL as RabbitMQ has them: cacertfile, certfile, keyfile,
// server_name_indication, verify and auth_mechanism.
func Open(o *member.Object, _ *archive.Spec) (archive.Opened, error) {
	schema := o.Schema(3)
	o.Need("_url")
	d := &destination{
		exchange:   o.String("exchange"),
		persistent: o.Bool("persistent", true),
		timeout:    defaultTimeout,
	}
	if len(d.exchange) > maxName {
		o.Fail("exchange", "want at most %d octets", maxName)
	}
	d.readKey(o, schema)
	d.pool.Life = defaultLife
	if o.Since(schema, 2, "connection-expires") {
		d.pool.Life = o.Duration("connection-expires", defaultLife)
	}
	if o.Since(schema, 3, "timeout") {
		if d.timeout = o.Duration("timeout", defaultTimeout); d.timeout < time.Millisecond {
			o.Fail("timeout", "want more than nothing")
		}
	}
	a := readURL(o)
	d.pool.Dial = func(ctx context.Context) (*link, error) { return dial(ctx, a, d.timeout) }
	d.pool.Alive = func(_ context.Context, l *link) bool { return !l.channel.IsClosed() }
	d.pool.Hangup = (*link).close
	return archive.Opened{Destination: d, Retry: retry.Read(o, false), Parallel: parallel}, nil
}

// readURL reads where the broker is; nil: o notes an error.
func readURL(o *member.Object) *address {
	const name = "_url"
	text := o.Text(name)
	if text == "" {
		return nil
	}
	a, err := parseURL(text)
	if err == nil {
		_, err = a.tls()
	}
	if err != nil {
		o.Fail(name, "%v", err)
		return nil
	}
	return a
}

// readKey reads the routing key, or how it is made.
func (d *destination) readKey(o *member.Object, schema int64) {
	const name = "routing-key"
	if _, isObject := o.Any(name).(map[string]any); !isObject {
		if d.key = o.String(name); len(d.key) > maxName {
			o.Fail(name, "want at most %d octets", maxName)
		}
	} else if o.Since(schema, 2, name) {
		d.keyOf = transform.Read(o.Object(name))
	}
}

func (d *destination) Deliver(ctx context.Context, item *archive.Item) error {
	key, err := d.routingKey(ctx, item.Payload)
	if err != nil {
		return err
	}
	message := amqp.Publishing{
		MessageId:       item.ID,
		ContentType:     "application/json",
		ContentEncoding: "utf-8",
		DeliveryMode:    amqp.Transient,
		Body:            item.Payload,
	}
	if d.persistent {
		message.DeliveryMode = amqp.Persistent
	}
	return d.pool.Use(ctx, func(l *link) (bool, error) {
		return l.publish(ctx, d.timeout, d.exchange, key, message)
	})
}

// routingKey returns the routing key of a result.
func (d *destination) routingKey(ctx context.Context, payload []byte) (string, error) {
	if d.keyOf == nil {
		return d.key, nil
	}
	made, err := d.keyOf.Apply(ctx, payload)
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.Is(err, transform.ErrDiscarded):
		return "", archive.Final(errors.New("routing key transform failed: it makes null: want a string"))
	case err != nil:
		return "", archive.Final(fmt.Errorf("routing key transform failed: %w", err))
	}
	key := string(made)
	var text string
	if json.Unmarshal(made, &text) == nil {
		key = text
	}
	if len(key) > maxName {
		return "", archive.Final(fmt.Errorf("routing key transform failed: it makes %d octets: want at most %d", len(key), maxName))
	}
	return key, nil
}

func (d *destination) Close() error {
	d.pool.Close()
	return nil
}
