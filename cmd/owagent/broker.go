package main

import (
	"context"
	"net"
	"sync/atomic"

	"owl/internal/agentfile"
	"owl/internal/cli"
	"owl/owamp"
	"owl/sessions"
)

// A route is what streams have in common that share control connections.
type route struct {
	client       cli.ClientOptions
	peer, server string
	retry        owamp.Interval
}

func routeOf(spec *agentfile.Stream) route {
	return route{client: spec.Client, peer: spec.Peer, server: spec.Server, retry: spec.Retry}
}

// A broker has the control connections of a route.
type broker struct {
	*sessions.Broker
	named atomic.Bool // a stream writes files, which show the names of addresses
}

// broker returns what has the control connections of a stream, which it shares
// with all of the same route.
func (a *agent) broker(spec *agentfile.Stream) (*sessions.Broker, error) {
	r := routeOf(spec)
	b := a.brokers[r]
	if b == nil {
		var err error
		if b, err = a.newBroker(r); err != nil {
			return nil, err
		}
		a.brokers[r] = b
	}
	if spec.Dir != "" {
		b.named.Store(true)
	}
	return b.Broker, nil
}

func (a *agent) newBroker(r route) (*broker, error) {
	dialer, err := r.client.Dialer(net.DefaultResolver, r.peer, r.server)
	if err != nil {
		return nil, err
	}
	b := new(broker)
	b.Broker = sessions.NewBroker(sessions.BrokerConfig{
		Dial: func(ctx context.Context) (sessions.Path, error) {
			c, err := dialer.Dial(ctx)
			if err != nil {
				return sessions.Path{}, err
			}
			if b.named.Load() {
				a.names.Prefetch(c.Peer, c.Local)
			}
			return sessions.Path{Conn: c.Conn, Local: c.Local, Peer: c.Peer}, nil
		},
		Control:  a.keys.client(&r.client),
		Clock:    a.clock,
		RetryCap: r.retry.Duration(),
	})
	return b, nil
}

// dropBrokers closes the brokers that no stream has.
func (a *agent) dropBrokers() {
	wanted := make(map[route]bool)
	for _, s := range a.streams {
		wanted[routeOf(&s.spec)] = true
	}
	for r, b := range a.brokers {
		if !wanted[r] {
			b.Close()
			delete(a.brokers, r)
		}
	}
}
