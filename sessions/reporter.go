package sessions

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"owl/owamp"
	"owl/sessions/result"
)

// A Sink takes the results of streams.
type Sink interface {
	// Put returns when the result is kept, or why it is not, which is a loss: it
	// is not called again with the same. It returns when ctx is done, and may be
	// called by many goroutines at once.
	Put(context.Context, *result.Result) error
}

// Each says of what a stream makes a result.
type Each uint8

const (
	EachSession Each = iota // of a session
	EachPart                // of a sub-session; where there are none, of a session
)

const (
	// maxReports and maxReportPackets bound the results of a stream that its sink
	// has not taken yet, and the packets in them.
	maxReports       = 128
	maxReportPackets = 1 << 20
	// putPatience is for how long a sink is waited for when the stream ends.
	putPatience = 5 * time.Second
)

// A reporter brings the results of a stream to its sink, one after the other, and
// keeps nobody waiting who measures.
//
// An archive may keep one value for a second. So no two results stand for one:
// those of the same second are merged, unless the one before has gone to the sink
// already, and a result of a time without measurement stands for a later second
// of that time, if need be.
type reporter struct {
	sink  Sink
	task  *result.Task
	clock Clock
	log   *slog.Logger

	mu      sync.Mutex
	life    context.Context   // of Put
	told    []int64           // the last seconds that results stand for
	planned []owamp.Timestamp // when sessions begin of which there may be a result
	held    *result.Result    // one that the next may be merged to
	gaps    []result.Gap      // that are over, for the next result
	queue   []*result.Result
	packets int    // of which results in queue have more than counts
	busy    bool   // somebody brings what is in queue
	failed  uint64 // results that were not taken since one was
	dropped uint64 // results that found no room in queue, likewise
	work    sync.WaitGroup
}

// newReporter returns a reporter for the stream of cfg.
func newReporter(cfg *StreamConfig) (*reporter, error) {
	task := cfg.Task
	task.Test, task.Receives, task.Raw = result.LatencyBG, !cfg.Send, cfg.Raw
	task.Packets = cfg.Packets
	if cfg.Each == EachPart && cfg.Part != 0 {
		task.Packets = cfg.Part
	}
	spec := owamp.SessionSpec{Slots: cfg.Slots}
	task.Interval, task.Timeout, task.Padding, task.TOS = spec.MeanInterval(), cfg.Timeout, cfg.Padding, cfg.DSCP<<2
	if task.Added.IsZero() {
		task.Added = cfg.Clock.Now().Time()
	}
	t, err := result.NewTask(task)
	if err != nil {
		return nil, err
	}
	return &reporter{sink: cfg.Sink, task: t, clock: cfg.Clock, log: cfg.Log, life: context.Background()}, nil
}

// remember appends v to the last ones.
func remember[T any](last []T, v T) []T {
	const most = 256
	if len(last) == most {
		last = last[:copy(last, last[1:])]
	}
	return append(last, v)
}

// run lets results go to the sink until [reporter.finish].
func (r *reporter) run(ctx context.Context) {
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() { time.AfterFunc(putPatience, end) })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.life = life
}

// finish waits until the sink has all results, or for as long as it may take.
func (r *reporter) finish() {
	r.mu.Lock()
	r.release()
	r.mu.Unlock()
	r.work.Wait()
}

// plan notes that there may be a result of a session that begins then.
func (r *reporter) plan(start owamp.Timestamp) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.planned = remember(r.planned, start)
}

// drop notes that there will be none.
func (r *reporter) drop(start owamp.Timestamp) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.planned = slices.DeleteFunc(r.planned, func(t owamp.Timestamp) bool { return t == start })
}

// isPlanned reports whether another session than the one that begins at at begins
// in a second.
func (r *reporter) isPlanned(second time.Time, at owamp.Timestamp) bool {
	return slices.ContainsFunc(r.planned, func(t owamp.Timestamp) bool {
		sec, _ := t.Unix()
		return t != at && sec == second.Unix()
	})
}

// isTold reports whether there is a result for a second.
func (r *reporter) isTold(second time.Time) bool { return slices.Contains(r.told, second.Unix()) }

// measured tells of what was measured.
func (r *reporter) measured(res *result.Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	res.Gaps, r.gaps = append(r.gaps, res.Gaps...), nil
	if r.merge(res) {
		return
	}
	for r.isTold(res.Time) {
		res.Time = res.Time.Add(time.Second)
	}
	r.take(res)
}

// outage tells that at a time within a gap that goes on nothing is measured. It
// reports whether there is a second for that, yet.
func (r *reporter) outage(reason GapReason, since, at owamp.Timestamp, why string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failure(at, r.clock.Now(), result.Gap{Reason: string(reason), Start: since, Open: true}, why)
}

// gap tells of a gap that is over. Where results have told of it while it went
// on, or where there is no second for one, the next result tells how long it was.
func (r *reporter) gap(reason GapReason, from, to owamp.Timestamp, why string, told bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := result.Gap{Reason: string(reason), Start: from, End: to}
	if told || !r.failure(from, to, g, why) {
		r.gaps = remember(r.gaps, g)
	}
}

// failure tells of a gap, with the first free second from at on that has begun
// before to, and reports whether there is one. r.mu is held.
func (r *reporter) failure(at, to owamp.Timestamp, g result.Gap, why string) bool {
	text := fmt.Sprintf("no data since %s: %s", logTime(g.Start), g.Reason)
	if why != "" {
		text += ": " + why
	}
	res := result.Failed(r.task, at, g, text, r.clock.Now().Time())
	if r.merge(res) {
		return true
	}
	for r.isTold(res.Time) || r.isPlanned(res.Time, at) {
		if res.Time = res.Time.Add(time.Second); !res.Time.Before(to.Time()) {
			return false
		}
	}
	r.take(res)
	return true
}

// merge merges res to the result that is held, if both are of the same second,
// and reports whether it has. r.mu is held.
func (r *reporter) merge(res *result.Result) bool {
	if r.held == nil || !r.held.Time.Equal(res.Time) {
		return false
	}
	both, err := result.Merge(r.held, res)
	if err != nil {
		r.log.Error(err.Error())
		return false
	}
	r.held = both
	if !mayGrow(both) {
		r.release()
	}
	return true
}

// mayGrow reports whether the next result may be of the same second.
func mayGrow(res *result.Result) bool {
	end, _ := res.End.Unix()
	open := slices.ContainsFunc(res.Gaps, func(g result.Gap) bool { return g.Open })
	return res.Succeeded && !open && end <= res.Time.Unix()
}

// take takes in a result that has a second of its own. r.mu is held.
func (r *reporter) take(res *result.Result) {
	r.release()
	r.told = remember(r.told, res.Time.Unix())
	r.held = res
	if !mayGrow(res) {
		r.release()
	}
}

// release lets the result go that was held. r.mu is held.
func (r *reporter) release() {
	if r.held == nil {
		return
	}
	res := r.held
	r.held = nil
	if len(r.queue) == maxReports || r.packets+res.RawPackets() > maxReportPackets {
		if r.dropped++; r.dropped == 1 {
			r.log.Error(fmt.Sprintf("%d results wait to be archived: those that come are dropped", len(r.queue)))
		}
		return
	}
	r.packets += res.RawPackets()
	r.queue = append(r.queue, res)
	if !r.busy {
		r.busy = true
		r.work.Go(r.bring)
	}
}

// bring brings to the sink what is in the queue.
func (r *reporter) bring() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) > 0 {
		res, life := r.queue[0], r.life
		r.queue[0] = nil
		r.queue = r.queue[1:]
		r.mu.Unlock()
		err := r.sink.Put(life, res)
		r.mu.Lock()
		r.packets -= res.RawPackets()
		switch {
		case err == nil && r.failed+r.dropped > 0:
			r.log.Info(fmt.Sprintf("results are archived again; %d were not", r.failed+r.dropped))
			r.failed, r.dropped = 0, 0
		case err != nil:
			if r.failed++; r.failed == 1 {
				r.log.Error(fmt.Sprintf("a result is not archived: %v", err))
			}
		}
	}
	r.queue, r.busy = nil, false
}
