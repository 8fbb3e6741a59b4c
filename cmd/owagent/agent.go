package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"reflect"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"owl/cmd/internal/archiving"
	"owl/internal/agentfile"
	"owl/internal/cli"
	"owl/internal/command"
	"owl/internal/hostname"
	"owl/owamp"
	"owl/probe"
	"owl/probe/clock"
	"owl/probe/host"
	"owl/sessions/metrics"
	"owl/sessions/ports"
)

// An agent is a process that measures what a file says.
type agent struct {
	log       *slog.Logger
	file      string
	host      string // unless the file says so
	clock     *clock.Clock
	monitor   *host.Monitor
	engine    *cli.Engine
	prober    ports.Prober
	names     *hostname.Cache
	registry  *prometheus.Registry // nil: nobody wants metrics
	collector *metrics.Collector   // likewise
	labels    *labelCollector
	keys      keyring
	scratch   string
	started   owamp.Timestamp
	life      context.Context // of streams
	end       context.CancelFunc
	serving   context.Context // of what serves, which goes on until the streams have said goodbye to it
	unserve   context.CancelFunc
	work      sync.WaitGroup    // of what serves
	failed    chan error        // has what stops something that serves
	first     *agentfile.Config // what its file said when it began
	written   func(path string) // is told of files; nil: nobody is
	live      live
	archival  *archiveHalf // nil: none

	reloading sync.Mutex        // held while streams change
	brokers   map[route]*broker // changed with them

	mu      sync.Mutex // guards what follows, and is held for a moment only
	cfg     *agentfile.Config
	pools   map[string]*ports.Pool // by device
	streams map[agentfile.Key]*stream
	server  *half // nil: none
	// archiver is nil where results go nowhere; it changes with the streams, and
	// then from nil.
	archiver *archiving.Archiver
}

// newAgent returns an agent without a stream that is to measure what cfg says,
// which file says. Its streams end with ctx.
func newAgent(ctx context.Context, file string, cfg *agentfile.Config, log *slog.Logger, getenv func(string) string) (*agent, error) {
	shift, err := cli.TimeShift(getenv)
	if err != nil {
		return nil, err
	}
	a := &agent{
		log:     log,
		file:    file,
		first:   cfg,
		clock:   clock.New(clock.Config{Shift: shift, Log: log}),
		names:   hostname.NewCache(net.DefaultResolver, getenv("OWL_NUMERIC") == "1"),
		labels:  newLabelCollector(),
		scratch: os.TempDir(),
		failed:  make(chan error, 2),
		brokers: make(map[route]*broker),
		pools:   make(map[string]*ports.Pool),
		streams: make(map[agentfile.Key]*stream),
	}
	a.started = a.clock.Now()
	a.monitor = host.New(host.Config{Now: a.clock.Now})
	a.clock.Ask(cfg.Clock)
	if a.engine, err = cfg.Engine.Open(a.clock, log); err != nil {
		return nil, err
	}
	a.prober = ports.Engine(a.engine.Engine)
	a.life, a.end = context.WithCancel(ctx)
	a.serving, a.unserve = context.WithCancel(context.WithoutCancel(ctx))
	a.work.Go(func() { a.clock.Run(a.serving) })
	a.work.Go(func() { a.monitor.Run(a.serving) })
	return a, nil
}

// serveMetrics serves the metrics of all streams at addr, if that is not empty,
// and says where.
func (a *agent) serveMetrics(addr string) (url string, err error) {
	if addr == "" {
		return "", nil
	}
	reg, c, err := metrics.NewRegistry(command.Version)
	if err != nil {
		return "", err
	}
	if err := reg.Register(a.labels); err != nil {
		return "", err
	}
	if err := metrics.Process(reg, a.engine, a.clock.State, a.monitor.Latest); err != nil {
		return "", err
	}
	a.registry, a.collector = reg, c
	return cli.ServeMetrics(a.serving, addr, metrics.Handler(reg))
}

// A change says how many streams something has changed.
type change struct {
	Added     int `json:"added"`
	Changed   int `json:"changed"`
	Removed   int `json:"removed"`
	Unchanged int `json:"unchanged"`
}

func (c change) String() string {
	return fmt.Sprintf("streams: %d added, %d changed, %d removed, %d go on", c.Added, c.Changed, c.Removed, c.Unchanged)
}

// errEnding says that nothing is changed any more.
var errEnding = errors.New("the agent is about to end")

// apply measures what cfg says: streams that it has, too, go on undisturbed. If
// anything of it cannot be, nothing has changed.
func (a *agent) apply(cfg *agentfile.Config) (change, error) {
	var c change
	if a.life.Err() != nil {
		return c, errEnding
	}
	keys, notes, err := readKeys(cfg)
	if err != nil {
		return c, err
	}
	for _, note := range notes {
		a.log.Warn(note)
	}
	if err := a.archive(cfg); err != nil {
		return c, err
	}
	var fresh []*stream // in the file's order
	var errs []error
	staying := make(map[agentfile.Key]bool)
	replaced := make(map[agentfile.Key]bool)
	for i := range cfg.Streams {
		spec := &cfg.Streams[i]
		staying[spec.Key] = true
		old := a.streams[spec.Key]
		if old != nil && reflect.DeepEqual(old.spec, *spec) && old.results == a.results(cfg) {
			c.Unchanged++
			continue
		}
		s, err := a.newStream(cfg, *spec, old, len(fresh))
		if err != nil {
			errs = append(errs, fmt.Errorf("stream %v: %w", spec.Key, err))
			continue
		}
		fresh = append(fresh, s)
		if old == nil {
			c.Added++
		} else {
			c.Changed++
			replaced[spec.Key] = true
		}
	}
	if err := errors.Join(errs...); err != nil {
		for _, s := range fresh {
			s.release(a.streams[s.spec.Key])
		}
		a.dropBrokers()
		if a.cfg != nil {
			err = errors.Join(err, a.archive(a.cfg))
		}
		return change{}, err
	}
	var ending []*stream
	for key, s := range a.streams {
		if !staying[key] {
			c.Removed++
			ending = append(ending, s)
		} else if replaced[key] {
			ending = append(ending, s)
		}
	}
	a.keys.set(keys)
	a.setPorts(cfg.Ports)
	a.clock.Ask(cfg.Clock)
	a.finish(ending, fresh)
	for _, s := range fresh {
		a.begin(s)
	}
	a.dropBrokers()
	a.mu.Lock()
	a.cfg = cfg
	a.mu.Unlock()
	return c, nil
}

// begin lets a stream measure.
func (a *agent) begin(s *stream) {
	s.watch(a)
	a.mu.Lock()
	a.streams[s.spec.Key] = s
	a.mu.Unlock()
	ctx, cancel := context.WithCancel(a.life)
	s.cancel = cancel
	s.running.Go(func() { s.stream.Run(ctx) })
}

// finish ends streams, all at once, each of which may have a successor in fresh.
func (a *agent) finish(ending, fresh []*stream) {
	successors := make(map[agentfile.Key]*stream)
	for _, s := range fresh {
		successors[s.spec.Key] = s
	}
	for _, s := range ending {
		s.cancel()
	}
	for _, s := range ending {
		s.running.Wait()
		s.unwatch(a)
		s.release(successors[s.spec.Key])
		a.mu.Lock()
		delete(a.streams, s.spec.Key)
		a.mu.Unlock()
	}
}

// pool returns the test ports of a device, "" for all, that streams share.
func (a *agent) pool(device string, r probe.PortRange) *ports.Pool {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.pools[device]
	if !ok {
		p = ports.NewPool(a.prober, r, device)
		a.pools[device] = p
	}
	return p
}

// setPorts has sessions use the ports of r from now on.
func (a *agent) setPorts(r probe.PortRange) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.pools {
		p.SetRange(r)
	}
}

// reload puts what the file says now in force: all of it, or, if anything is
// wrong, nothing. It returns what is to be known of it, line by line.
func (a *agent) reload() ([]string, error) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	cfg, err := agentfile.Load(a.file, a.host)
	if err != nil {
		return nil, err
	}
	settings, limits, err := a.loadServer(cfg)
	if err != nil {
		return nil, err
	}
	rules, err := readArchive(a.file, cfg.Archive)
	if err != nil {
		return nil, err
	}
	c, err := a.apply(cfg)
	if err != nil {
		return nil, err
	}
	told := append([]string{c.String()}, cfg.Remarks...)
	if a.server != nil && limits != nil {
		a.server.server.Reload(settings, limits)
		told = append(told, "limits and pass-phrases of the server reloaded")
	}
	if cfg.Metrics != a.first.Metrics {
		told = append(told, "metrics: restart owagent for the new address to take effect")
	}
	if cfg.Engine != a.first.Engine {
		told = append(told, "engine: restart owagent for its changes to take effect")
	}
	if cfg.RunAs != a.first.RunAs {
		told = append(told, "run_as: restart owagent for another user to take effect")
	}
	if cfg.Archiving.Queue != a.first.Archiving.Queue && a.archiver != nil {
		told = append(told, "queue: restart owagent for its changes to take effect")
	}
	told = append(told, a.reloadArchive(cfg.Archive, rules)...)
	if needsRestart(a.first.Server, cfg.Server) {
		told = append(told, "server: restart owagent for its listen, data and modes to take effect")
	}
	return append(told, warnDescriptors(cfg)...), nil
}

// reloadAndTell is reload for somebody who reads the log.
func (a *agent) reloadAndTell() {
	told, err := a.reload()
	if err != nil {
		for _, e := range apart(err) {
			a.log.Error("not reloaded, what was in force stays: " + e.Error())
		}
		return
	}
	for _, line := range told {
		a.log.Info(line)
	}
}

// close ends all streams, then what serves, and gives back what they had.
func (a *agent) close() {
	a.end() // before the lock: a reload that comes now finds the end
	a.reloading.Lock()
	a.finish(slices.Collect(maps.Values(a.streams)), nil)
	a.dropBrokers()
	for _, p := range a.pools {
		p.Close()
	}
	if a.archiver != nil {
		a.archiver.Close()
	}
	a.reloading.Unlock()
	a.unserve()
	a.work.Wait()
	if a.archival != nil {
		a.archival.close(a.log)
	}
	if err := a.engine.Close(); err != nil { // the server's sessions needed it to the end
		a.log.Error(err.Error())
	}
}

// measure is the command run.
func measure(ctx context.Context, hangup <-chan struct{}, o *options, getenv func(string) string, stderr io.Writer) error {
	log := o.logger(stderr)
	cli.SaveMemory(getenv)
	name, err := o.hostName()
	if err != nil {
		return err
	}
	cfg, err := agentfile.Load(o.config, name)
	if err != nil {
		return err
	}
	l, err := listen(ctx, o.socket, cfg)
	if err != nil {
		return err
	}
	defer l.close()
	a, err := newAgent(ctx, o.config, cfg, log, getenv)
	if err != nil {
		return err
	}
	defer a.close()
	a.host = name
	url, err := a.serveMetrics(cfg.Metrics)
	if err != nil {
		return err
	}
	if url != "" {
		log.Info("metrics are at " + url)
	}
	id, notes, err := identify(cfg, os.Geteuid())
	if err != nil {
		return err
	}
	cli.WarnClock(a.clock.State().Synchronized, log)
	for _, remark := range slices.Concat(cfg.Remarks, notes, warnDescriptors(cfg)) {
		log.Warn(remark)
	}
	// All that takes privileges has been done. What follows reads and makes the
	// files that it names as who it will be when they are read again.
	if err := become(id, cfg, o.socket); err != nil {
		return err
	}
	c, err := a.start(l)
	if err != nil {
		return err
	}
	log.Info(fmt.Sprintf("%v; owagent status asks at %s", c, o.socket))
	a.serveSocket(a.serving, l.socket)
	if a.archival != nil {
		a.work.Go(func() { _ = a.watch(a.serving, nil) }) // which does not fail
	}
	for {
		select {
		case <-hangup:
			a.reloadAndTell()
		case err := <-a.failed:
			return err
		case <-ctx.Done():
			log.Info("SIGTERM/SIGINT Caught: Exiting.")
			return nil
		}
	}
}

// listeners are where an agent is to be found, but for its metrics.
type listeners struct {
	socket  net.Listener
	control net.Listener // of the server half; nil: there is none
	archive net.Listener // of the archive half, likewise
}

// listen opens what cfg says, and the socket.
func listen(ctx context.Context, socket string, cfg *agentfile.Config) (*listeners, error) {
	l := new(listeners)
	var err error
	if l.socket, err = listenSocket(socket); err == nil {
		l.control, err = listenServer(ctx, cfg)
	}
	if err == nil {
		l.archive, err = listenArchive(ctx, cfg)
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// close closes all that was not closed by who served there.
func (l *listeners) close() {
	for _, ln := range []net.Listener{l.socket, l.control, l.archive} {
		if ln != nil {
			ln.Close()
		}
	}
}

// start begins to serve at l, and to measure, what the agent's first file says.
func (a *agent) start(l *listeners) (change, error) {
	if err := a.startArchive(a.first.Archive, l.archive); err != nil {
		return change{}, err
	}
	if err := a.startServer(a.first, l.control); err != nil {
		return change{}, err
	}
	a.work.Go(func() { a.tellClock(a.life) })
	a.reloading.Lock()
	defer a.reloading.Unlock()
	return a.apply(a.first)
}
