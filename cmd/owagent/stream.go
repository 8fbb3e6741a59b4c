package main

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"owl/internal/agentfile"
	"owl/owamp"
	"owl/owamp/stats"
	"owl/sessions"
	"owl/sessions/metrics"
	"owl/sessions/result"
)

// spread is how long after each other streams begin, so that thousands do not
// ask their peers at the same time.
const spread = 2 * time.Millisecond

// A stream is a stream of the file, with all that it needs.
type stream struct {
	spec    agentfile.Stream
	stream  *sessions.Stream
	dir     *sessions.Directory // nil: no files
	results results
	metrics *metrics.Stream
	recent  recent
	tally   tally
	task    result.TaskConfig
	ends    atomic.Pointer[ends] // nil: not known yet
	cancel  context.CancelFunc
	running sync.WaitGroup
}

// newStream makes the stream of spec, which takes the place of old unless that
// is nil, and is the i-th one that begins now. Nothing is sent yet.
func (a *agent) newStream(file *agentfile.Config, spec agentfile.Stream, old *stream, i int) (*stream, error) {
	broker, err := a.broker(&spec)
	if err != nil {
		return nil, err
	}
	s := &stream{spec: spec, results: a.results(file), task: task(file, &spec)}
	slot := owamp.Slot{Type: owamp.SlotExponential, Parameter: spec.Interval}
	if spec.Periodic {
		slot.Type = owamp.SlotFixed
	}
	cfg := sessions.StreamConfig{
		Broker:      broker,
		Clock:       a.clock,
		Host:        a.monitor,
		Pool:        a.pool(spec.Client.Device, file.Ports),
		Random:      rand.Reader,
		Log:         a.log.With(slog.String("stream", spec.Name), slog.String("direction", string(spec.Direction))),
		Send:        spec.Direction == agentfile.Send,
		Packets:     spec.Packets,
		Slots:       []owamp.Slot{slot},
		Timeout:     spec.Timeout,
		Padding:     spec.Padding,
		DSCP:        spec.DSCP,
		Part:        spec.Part,
		Delay:       time.Duration(i) * spread,
		EndDelay:    spec.EndDelay.Duration(),
		RetryCap:    spec.Retry.Duration(),
		Scratch:     a.scratch,
		BucketWidth: spec.Bucket,
		UnixTimes:   spec.UnixTimes,
		// A summary written at the end does not wait for DNS.
		Names: func(from, to netip.Addr) stats.Names { return a.names.NamesContext(a.life, from, to) },
		Seen: func(recs []owamp.Record) {
			if s.metrics != nil {
				s.metrics.Observe(recs)
			}
			s.recent.observe(recs)
			s.tally.observe(recs)
		},
		Written: a.written,
	}
	if s.results.wanted {
		cfg.Sink, cfg.Task, cfg.Raw = a.archiver, s.task, spec.Raw || s.results.raw
		if s.results.parts {
			cfg.Each = sessions.EachPart
		}
	}
	if spec.Dir != "" {
		if s.dir, err = openDirectory(spec.Dir, old, a.log); err != nil {
			return nil, err
		}
		cfg.Directory = s.dir
	}
	if s.stream, err = sessions.NewStream(cfg); err != nil {
		s.release(old)
		return nil, err
	}
	return s, nil
}

// openDirectory returns the directory of a stream's files: that of the stream
// whose place it takes, if it is the same.
func openDirectory(path string, old *stream, log *slog.Logger) (*sessions.Directory, error) {
	if old != nil && old.spec.Dir == path {
		return old.dir, nil
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, err
	}
	d, err := sessions.OpenDirectory(path)
	if err != nil {
		return nil, err
	}
	if err := d.Recover(log); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// release gives the directory back unless other, which may be nil, has it, too.
func (s *stream) release(other *stream) {
	if s.dir != nil && (other == nil || other.dir != s.dir) {
		s.dir.Close()
	}
}

// watch shows the stream to those who look at the agent.
func (s *stream) watch(a *agent) {
	if a.collector == nil {
		return
	}
	l := metricsLabels(&s.spec)
	s.metrics = a.collector.Stream(l, s.stream.Snapshot)
	a.labels.add(l, s.spec.Labels)
}

func (s *stream) unwatch(a *agent) {
	if s.metrics == nil {
		return
	}
	s.metrics.Close()
	a.labels.remove(metricsLabels(&s.spec))
}

// metricsLabels returns the labels of a stream's series.
func metricsLabels(spec *agentfile.Stream) metrics.Labels {
	l := metrics.Labels{Source: spec.Remote, Destination: spec.Local, Direction: metrics.To, Stream: spec.Name}
	if spec.Direction == agentfile.Send {
		l.Source, l.Destination, l.Direction = spec.Local, spec.Remote, metrics.From
	}
	return l
}

// recent has the delays of the last packets of a stream.
type recent struct {
	mu     sync.Mutex
	delays [64]int64 // ns
	n      int       // packets so far
}

// observe takes note of packets.
func (r *recent) observe(recs []owamp.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range recs {
		if rec := &recs[i]; !rec.Lost() && rec.Flags&owamp.FlagDuplicate == 0 {
			r.delays[r.n%len(r.delays)] = int64(rec.Recv.Sub(rec.Sent))
			r.n++
		}
	}
}

// quantiles returns the least delay, the median and the 95th percentile; ok is
// false before the first packet.
func (r *recent) quantiles() (least, median, p95 time.Duration, ok bool) {
	r.mu.Lock()
	last := slices.Clone(r.delays[:min(r.n, len(r.delays))])
	r.mu.Unlock()
	if len(last) == 0 {
		return 0, 0, 0, false
	}
	slices.Sort(last)
	at := func(percent int) time.Duration {
		return time.Duration(last[(len(last)*percent+99)/100-1]) // nearest rank
	}
	return time.Duration(last[0]), at(50), at(95), true
}
