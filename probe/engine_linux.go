package probe

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"owl/probe/capture"
	"owl/probe/clock"
	"owl/probe/stamp"
)

// eventsAtOnce is how many readable ports one look at epoll finds.
const eventsAtOnce = 128

// An Engine sends and receives the test packets of all sessions of a process.
// Its methods may be called by any goroutine.
type Engine struct {
	clock  *clock.Clock
	log    *slog.Logger
	gather time.Duration // while there are few packets
	busy   time.Duration // while there are many

	stamps *stamp.Source
	kernel bool // use the kernel's stamps
	lane   *lane
	raw    *rawSockets // nil: packets are sent by the ports' own sockets
	buffer sync.Pool   // of *arrivals

	poller *poller
	reader sync.WaitGroup
	closed chan struct{}

	cards    *cards
	received arrivalCounts

	rings *rings        // nil: packets come from the ports' own sockets
	dump  *capture.Dump // nil: nobody wants a file of the packets

	mu      sync.Mutex
	ports   map[int32]*Port  // by descriptor; nil: the engine is closed
	sources map[int32]source // what is read, by descriptor
}

// A source is what the reader reads: a port's socket, or the ring of an
// interface.
type source interface {
	// readable reads what there is, asks the engine to watch for more, and
	// returns how many packets there were.
	readable() (packets int)
}

// Allowed returns an error if the process lacks a privilege that an engine of the
// configuration takes.
func (cfg *Config) Allowed() error {
	if cfg.Capture == CaptureRaw || cfg.Pcap != nil {
		if err := capture.Available(); err != nil {
			return fmt.Errorf("test packets: %w", err)
		}
	}
	if cfg.Transmit == TransmitRaw {
		if err := rawAvailable(); err != nil {
			return fmt.Errorf("test packets: %w", err)
		}
	}
	return nil
}

// New returns an engine. It learns first, within some 10 ms, whether the kernel
// stamps packets on arrival; see package stamp. The caller closes it.
func New(cfg Config) (*Engine, error) {
	if cfg.Clock == nil {
		return nil, errors.New("test packets: no clock, want one")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := cfg.Allowed(); err != nil {
		return nil, err
	}
	var raw *rawSockets
	if cfg.Transmit == TransmitRaw {
		raw = new(rawSockets)
	}
	poller, err := newPoller()
	if err != nil {
		return nil, fmt.Errorf("test packets: %w", err)
	}
	e := &Engine{
		clock:  cfg.Clock,
		log:    cfg.Log,
		raw:    raw,
		gather: cfg.Gather,
		busy:   cfg.Gather,
		poller: poller,
		closed: make(chan struct{}),
		ports:  make(map[int32]*Port),

		sources: make(map[int32]source),
		cards:   newCards(cfg.Log),
	}
	if cfg.Capture == CaptureRaw {
		e.rings = &rings{engine: e, open: make(map[capture.Interface]*tap)}
	}
	if e.gather <= 0 {
		e.gather, e.busy = cfg.Pacing.gather(), busyGather
	}
	e.buffer.New = func() any { return newArrivals() }
	e.stamps = stamp.Open()
	if e.lane, err = newLane(cfg, newDepartures(e.clock, e.stamps.Departures.OwnIDs)); err != nil {
		e.poller.close()
		e.stamps.Close()
		return nil, fmt.Errorf("test packets: %w", err)
	}
	e.kernel = e.stamps.Err == nil && !cfg.UserStamps
	if !e.kernel {
		why := "as configured"
		if e.stamps.Err != nil {
			why = e.stamps.Err.Error()
		}
		e.log.Warn("test packets are stamped when they are read, not when they arrive", "why", why, "late", e.stamps.Wake)
	}
	if cfg.Pcap != nil {
		if e.dump, err = capture.NewDump(capture.DumpConfig{Writer: cfg.Pcap, Log: e.log, Except: e.lane.copiesTo()}); err != nil {
			return nil, errors.Join(fmt.Errorf("test packets: %w", err), e.lane.close(), e.stamps.Close(), e.poller.close())
		}
	}
	if err := e.stamps.Departures.Err; e.kernel && err != nil {
		e.log.Info("nobody knows when test packets leave this host", "why", err)
	}
	e.reader.Go(e.read)
	return e, nil
}

// Slip returns how long after their scheduled times, or the begin of their session
// if that was later, packets have been sent: those of all sessions since the engine
// began.
func (e *Engine) Slip() *Distribution { return e.lane.slips.distribution() }

// Transmit returns what the kernel has told about the departure of packets, those
// of all sessions since the engine began.
func (e *Engine) Transmit() TransmitStats { return e.lane.left.stats() }

// Stamps returns who has stamped packets, those of all sessions since the engine
// began.
func (e *Engine) Stamps() StampStats {
	left := e.lane.left
	card := left.cards.Load()
	return StampStats{
		ReceivedCard:   e.received.card.Load(),
		ReceivedKernel: e.received.kernel.Load(),
		ReceivedUser:   e.received.user.Load(),
		SentCard:       card,
		SentKernel:     left.gaps.distribution().Packets - card,
		Cards:          e.cards.stats(),
	}
}

// Incidents returns what this host did to test packets since the engine began.
// Drops are not among them, for they are of ports.
func (e *Engine) Incidents() Incidents { return e.lane.incidents.total() }

// Close closes all ports, ends all sessions and waits until the engine's
// goroutines have ended.
func (e *Engine) Close() error {
	e.mu.Lock()
	ports := e.ports
	e.ports = nil
	e.mu.Unlock()
	if ports == nil {
		return nil
	}
	var errs []error
	for _, p := range ports {
		errs = append(errs, p.close())
	}
	close(e.closed)
	e.poller.end()
	e.reader.Wait()
	errs = append(errs, e.poller.close(), e.lane.close(), e.cards.close(), e.stamps.Close())
	if e.dump != nil {
		errs = append(errs, e.dump.Close())
	}
	return errors.Join(errs...)
}

// read empties the ports as they become readable.
func (e *Engine) read() {
	var events [eventsAtOnce]unix.EpollEvent
	var found [eventsAtOnce]source
	gather := e.busy
	addProcessor(1) // see [poller.rest]
	defer addProcessor(-1)
	for {
		n := e.poller.wait(events[:])
		if n == 0 {
			return
		}
		e.find(found[:n], events[:n])
		if e.kernel { // with stamps of our own there is nothing to wait for
			began := time.Now()
			if !e.poller.rest(gather) {
				return
			}
			if late := time.Since(began) - gather; late >= LateWake {
				e.lane.incidents.read(e.clock.Now(), late)
			}
		}
		gather = e.gather
		for _, s := range found[:n] {
			if s != nil && s.readable() > busyPort {
				gather = e.busy
			}
		}
	}
}

// find finds the sources of events, which have happened: nobody waits for a port
// until it has been read. A source that has been removed is nil.
func (e *Engine) find(found []source, events []unix.EpollEvent) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range events {
		found[i] = e.sources[events[i].Fd]
		if p, ok := found[i].(*Port); ok {
			p.reports.polled.Store(false)
		}
	}
}

func (e *Engine) isClosed() bool {
	select {
	case <-e.closed:
		return true
	default:
		return false
	}
}

// add takes in a new port.
func (e *Engine) add(p *Port) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ports == nil {
		return net.ErrClosed
	}
	e.ports[int32(p.fd)] = p
	return nil
}

// remove forgets a port whose descriptor is about to be closed.
func (e *Engine) remove(p *Port) {
	e.removeSource(p.fd)
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.ports, int32(p.fd))
}

// addSource has s, which has the descriptor fd, read when there is something.
func (e *Engine) addSource(fd int, s source) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ports == nil {
		return net.ErrClosed
	}
	if err := e.poller.watch(fd, unix.EPOLL_CTL_ADD); err != nil {
		return err
	}
	e.sources[int32(fd)] = s
	return nil
}

// removeSource forgets a source whose descriptor is about to be closed, which
// takes it off the epoll instance.
func (e *Engine) removeSource(fd int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.sources, int32(fd))
}
