package probe

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"owl/probe/capture"
	"owl/probe/stamp"
)

// arrivalCounts count the records that were delivered by who has stamped them.
type arrivalCounts struct{ card, kernel, user atomic.Uint64 }

func (c *arrivalCounts) count(d *delivery) {
	c.kernel.Add(uint64(d.run) - d.byCard - d.byUs)
	if d.byCard > 0 {
		c.card.Add(d.byCard)
	}
	if d.byUs > 0 {
		c.user.Add(d.byUs)
	}
}

// cards are the network cards of the interfaces that ports have, as far as they
// stamp test packets.
type cards struct {
	log  *slog.Logger
	open func(socket int, name string) (*stamp.Card, error)

	// Those that can be used, by the index of their interface; replaced, never
	// changed.
	usable atomic.Pointer[map[uint32]*stamp.Card]

	running sync.WaitGroup
	ctx     context.Context // until the engine is closed
	cancel  context.CancelFunc

	mu    sync.Mutex
	known map[capture.Interface]*stamp.Card // nil: it has none
}

func newCards(log *slog.Logger) *cards {
	c := &cards{log: log, open: stamp.OpenCard, known: make(map[capture.Interface]*stamp.Card)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.usable.Store(new(map[uint32]*stamp.Card))
	return c
}

// of returns the card of the interface that p belongs to, nil if there is none
// that is of use. What there is of an interface is said once.
func (c *cards) of(p *Port) *stamp.Card {
	addr := p.addr.Addr()
	if !p.engine.kernel || addr.IsLoopback() {
		return nil
	}
	interfaces, err := capture.Interfaces(addr, p.device)
	if err != nil || len(interfaces) == 0 {
		return nil
	}
	// That more than one has a card would be strange, for they have one address.
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil { // the engine has just been closed
		return nil
	}
	for _, i := range interfaces {
		card, asked := c.known[i]
		if !asked {
			card = c.ask(p.fd, i)
		}
		if card != nil {
			return card
		}
	}
	return nil
}

// ask opens the card of an interface. c.mu is held.
func (c *cards) ask(socket int, i capture.Interface) *stamp.Card {
	if dev, err := net.InterfaceByIndex(i.Index); err == nil && dev.Flags&net.FlagLoopback != 0 {
		c.known[i] = nil // it takes what the host sends to itself
		return nil
	}
	card, err := c.open(socket, i.Name)
	c.known[i] = card
	if err != nil {
		c.known[i] = nil
		c.log.Info("test packets are stamped by the kernel, not by a network card", "why", err)
		return nil
	}
	c.log.Info("test packets are stamped by a network card", "interface", card.Name, "received", card.Receives, "sent", card.Sends)
	usable := maps.Clone(*c.usable.Load())
	if usable == nil {
		usable = make(map[uint32]*stamp.Card)
	}
	usable[uint32(i.Index)] = card
	c.usable.Store(&usable)
	c.running.Go(func() { card.Run(c.ctx) })
	return card
}

// close lets go of all cards, which nobody asks any longer.
func (c *cards) close() error {
	c.mu.Lock()
	c.cancel()
	c.mu.Unlock()
	c.running.Wait()
	var errs []error
	for _, card := range *c.usable.Load() {
		errs = append(errs, card.Close())
	}
	return errors.Join(errs...)
}

// stats returns what is known of the cards, in the order of their names.
func (c *cards) stats() []CardStats {
	var all []CardStats
	for _, card := range *c.usable.Load() {
		s := card.State()
		all = append(all, CardStats{Interface: card.Name, Offset: s.Offset, Error: s.Error, Steps: s.Steps, Err: s.Err})
	}
	slices.SortFunc(all, func(a, b CardStats) int { return strings.Compare(a.Interface, b.Interface) })
	return all
}
