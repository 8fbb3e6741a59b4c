package tstat

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"owl/archive/dest/rabbitmq"
)

// RabbitName is the transport of the original, and the stanza that it needs.
const RabbitName = "rabbit"

// rabbitTimeout bounds how long is waited for a broker.
const rabbitTimeout = 30 * time.Second

// A Rabbit is what the stanzas [rabbit], [rabbit_queue_options] and [ssl_options]
// say.
type Rabbit struct {
	Broker     rabbitmq.Broker
	Queue      string
	Options    rabbitmq.QueueOptions
	Exchange   string
	RoutingKey string
	// Unknown are keys of [rabbit] that say nothing here.
	Unknown []string
}

// Rabbit reads the stanzas of the transport rabbit. The error is in one line.
func (c *Config) Rabbit() (*Rabbit, error) {
	if !c.Has(RabbitName) {
		return nil, missing(RabbitName)
	}
	s := c.stanza(RabbitName, RabbitName)
	r := &Rabbit{Broker: rabbitmq.Broker{Host: s.need("host"), Timeout: rabbitTimeout, Program: "tstat_send"}}
	if port := s.need("port"); s.errs == nil {
		r.Broker.Port = uint16(s.number("port", port, 1, 65535))
	}
	r.Broker.Name, r.Broker.Password = s.need("username"), s.need("password")
	secure := s.need("use_ssl")
	isSecure := s.errs == nil && s.truth("use_ssl", secure)
	r.Broker.VHost, r.Queue, r.Exchange, r.RoutingKey = s.short("vhost"), s.short("queue"), s.short("exchange"), s.short("routing_key")
	if v, ok := s.text("heartbeat"); ok {
		r.Broker.Heartbeat = time.Duration(s.number("heartbeat", v, 0, 65535)) * time.Second
	}
	r.Unknown = s.unknown()
	if err := s.err(); err != nil {
		return nil, err
	}
	q := c.stanza("rabbit_queue_options", RabbitName)
	r.Options = readQueueOptions(q)
	if err := q.err(); err != nil {
		return nil, err
	}
	if !isSecure {
		return r, nil
	}
	t := c.stanza("ssl_options", RabbitName)
	r.Broker.TLS = readTLS(t)
	return r, t.err()
}

// readQueueOptions reads how the queue is declared.
func readQueueOptions(s *stanza) rabbitmq.QueueOptions {
	o := rabbitmq.QueueOptions{
		Passive: s.flag("passive"), Durable: s.flag("durable"), Exclusive: s.flag("exclusive"), AutoDelete: s.flag("auto_delete"),
	}
	if v, _ := s.text("arguments"); v != "" {
		var err error
		if o.Arguments, err = readArguments(v); err != nil {
			s.fail("arguments", "%v", err)
		}
	}
	s.done()
	return o
}

// readArguments reads the arguments of a queue, an object in JSON.
func readArguments(text string) (map[string]any, error) {
	var all map[string]any
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	dec.UseNumber()
	err := dec.Decode(&all)
	if _, behind := dec.Token(); err != nil || behind != io.EOF {
		return nil, errors.New(`want an object in JSON, such as {"x-max-length": 1000}`)
	}
	for name, v := range all {
		number, ok := v.(json.Number)
		if !ok {
			continue
		}
		if n, err := number.Int64(); err == nil {
			all[name] = n
		} else if f, err := number.Float64(); err == nil {
			all[name] = f
		}
	}
	if err := amqp.Table(all).Validate(); err != nil {
		return nil, fmt.Errorf("want strings, numbers and booleans: %w", err)
	}
	return all, nil
}

// readTLS reads how TLS is spoken. As in the original no certificate is looked at
// unless there is something to check it with.
func readTLS(s *stanza) *rabbitmq.TLS {
	var t rabbitmq.TLS
	t.CA, _ = s.text("ca_certs")
	t.Cert, _ = s.text("certfile")
	t.Key, _ = s.text("keyfile")
	t.Server, _ = s.text("server_hostname")
	v, _ := s.text("cert_reqs")
	switch strings.TrimPrefix(strings.ToUpper(v), "SSL.") {
	case "":
		t.AnyCert = t.CA == ""
	case "CERT_NONE", "0":
		t.AnyCert = true
	case "CERT_REQUIRED", "2":
	default:
		s.fail("cert_reqs", "%q: want CERT_NONE or CERT_REQUIRED", v)
	}
	s.done()
	return &t
}

// Resolve looks the broker's host up, as the original does before all else.
func (r *Rabbit) Resolve(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, rabbitTimeout)
	defer cancel()
	if _, err := net.DefaultResolver.LookupNetIP(ctx, "ip", r.Broker.Host); err != nil {
		return fmt.Errorf("%s is not a valid hostname: %w", r.Broker.Host, err)
	}
	return nil
}

// Connect connects to the broker, and declares the queue. There is one connection
// for all slices: when it is lost, the run is over.
func (r *Rabbit) Connect(ctx context.Context, log *slog.Logger) (Transport, error) {
	p, err := rabbitmq.Connect(ctx, &r.Broker)
	if err != nil {
		return nil, err
	}
	log.Debug("connected", "broker", p.Address(), "vhost", r.Broker.VHost, "user", r.Broker.Name, "tls", r.Broker.TLS != nil)
	if err := p.Declare(ctx, r.Queue, r.Options); err != nil {
		p.Close()
		return nil, err
	}
	log.Debug("declared", "queue", r.Queue)
	return &rabbit{p, r}, nil
}

// A rabbit is a transport to a broker.
type rabbit struct {
	publisher *rabbitmq.Publisher
	config    *Rabbit
}

// Send publishes a slice with the properties that the original gives it, and no
// others.
func (r *rabbit) Send(ctx context.Context, slice []byte) error {
	return r.publisher.Publish(ctx, r.config.Exchange, r.config.RoutingKey,
		amqp.Publishing{ContentType: "application/json", DeliveryMode: amqp.Transient, Body: slice})
}

func (r *rabbit) Close() error {
	r.publisher.Close()
	return nil
}
