package rabbitmq

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"owl/archive/dest/internal/certs"
)

// A Broker says where a broker is, and who we are there, for those who do not
// have it as a URL.
type Broker struct {
	Host     string
	Port     uint16
	Name     string
	Password string
	VHost    string
	TLS      *TLS          // nil: not at all
	Timeout  time.Duration // of connecting, and of each thing that is asked for
	// Heartbeat is how often both ends show that they are there, unless the broker
	// wants it more often; 0: every 10 s.
	Heartbeat time.Duration
	Program   string // what the broker calls the connection
}

// TLS says by paths of PEM files how to speak it.
type TLS struct {
	CA      string // of those who may have signed the broker's certificate; empty: the system's
	Cert    string // our own; empty: none
	Key     string // of our own; empty: in the same file
	AnyCert bool   // the broker's certificate is not looked at
	Server  string // whose certificate the broker has; empty: the host's
}

// A QueueOptions says how a queue is declared, as AMQP 0-9-1 has it.
type QueueOptions struct {
	Passive    bool // it must be there
	Durable    bool
	AutoDelete bool
	Exclusive  bool
	Arguments  map[string]any
}

// A Publisher has one connection to a broker, and sends one message at a time. It
// does not connect again.
type Publisher struct {
	link    *link
	timeout time.Duration
}

// Connect connects to a broker and logs in.
func Connect(ctx context.Context, b *Broker) (*Publisher, error) {
	a := &address{
		host: b.Host, port: strconv.Itoa(int(b.Port)), name: b.Name, password: b.Password, vhost: b.VHost,
		logins: []string{"PLAIN"}, heartbeat: b.Heartbeat, program: b.Program,
	}
	if t := b.TLS; t != nil {
		a.secure, a.server = true, t.Server
		if a.server == "" {
			a.server = b.Host
		}
		a.certs = certs.Files{CA: t.CA, Cert: t.Cert, Key: t.Key, AnyCert: t.AnyCert}
	}
	l, err := dial(ctx, a, b.Timeout)
	if err != nil {
		return nil, err
	}
	return &Publisher{l, b.Timeout}, nil
}

// Declare declares a queue.
func (p *Publisher) Declare(ctx context.Context, queue string, o QueueOptions) error {
	short, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	// amqp knows no contexts: what it waits for ends with the connection.
	giveUp := context.AfterFunc(short, func() { p.link.net.Close() })
	declare := p.link.channel.QueueDeclare
	if o.Passive {
		declare = p.link.channel.QueueDeclarePassive
	}
	_, err := declare(queue, o.Durable, o.AutoDelete, o.Exclusive, false, o.Arguments)
	switch {
	case giveUp():
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		err = fmt.Errorf("no answer within %v", p.timeout)
	}
	if err != nil {
		return fmt.Errorf("failed to declare the queue %s: %w", queue, err)
	}
	return nil
}

// Publish sends a message, and returns nil once the broker has confirmed that a
// queue has it. After an error the publisher is of no use any more.
func (p *Publisher) Publish(ctx context.Context, exchange, key string, m amqp.Publishing) error {
	_, err := p.link.publish(ctx, p.timeout, exchange, key, m)
	return err
}

// Address is where the broker is that answered.
func (p *Publisher) Address() net.Addr { return p.link.net.RemoteAddr() }

// Close ends the connection.
func (p *Publisher) Close() { p.link.close() }
