package ping

import (
	"errors"

	"owl/owamp"
	"owl/owamp/control"
	"owl/owamp/owp"
	"owl/sessions"
	"owl/sessions/result"
)

// ResultConfig says what the results of a test have in common, beside what its
// Config says. Of Task the test itself knows all from Packets on, Test and
// Receives.
type ResultConfig struct {
	Task        result.TaskConfig
	BucketWidth float64 // s, of the histogram's bins; 0: 0.0001
	Raw         bool    // with their packets
}

// task returns the task of one direction.
func (cfg *Config) task(rc *ResultConfig, receives bool) (*result.Task, error) {
	t := rc.Task
	spec := owamp.SessionSpec{Slots: cfg.Slots}
	t.Test, t.Receives, t.Raw = result.Latency, receives, rc.Raw
	t.Packets, t.Interval, t.Timeout = cfg.Packets, spec.MeanInterval(), cfg.Timeout
	t.Padding, t.TOS = cfg.Padding, cfg.DSCP<<2
	if t.Added.IsZero() {
		t.Added = cfg.Clock.Now().Time()
	}
	return result.NewTask(t)
}

// Result returns the result of one direction of the test of cfg, whose file r
// reads: that of the session from the peer after [Test.Run], or what was fetched of
// the one to it. Receives says which.
func Result(cfg *Config, rc *ResultConfig, receives bool, r *owp.Reader) (*result.Result, error) {
	task, err := cfg.task(rc, receives)
	if err != nil {
		return nil, err
	}
	return result.OfFile(task, r, result.FileOptions{BucketWidth: rc.BucketWidth, Raw: rc.Raw, Made: cfg.Clock.Now().Time()})
}

// Failed returns the result of one direction of a test of which, for the reason
// why, there are no packets to tell of. Begun says that it failed after [Begin].
func Failed(cfg *Config, rc *ResultConfig, receives, begun bool, why error) (*result.Result, error) {
	task, err := cfg.task(rc, receives)
	if err != nil {
		return nil, err
	}
	now := cfg.Clock.Now()
	gap := result.Gap{Reason: string(reasonOf(why, begun)), Start: now, End: now.AddDuration(task.Length())}
	return result.Failed(task, now, gap, gap.Reason+": "+why.Error(), now.Time()), nil
}

// reasonOf returns why there is nothing to tell of.
func reasonOf(err error, begun bool) sessions.GapReason {
	_, denied := errors.AsType[*control.DeniedError](err)
	_, broken := errors.AsType[*control.ConnError](err)
	_, strange := errors.AsType[*control.ProtocolError](err)
	switch {
	case denied:
		return sessions.GapRefused
	case (broken || strange) && begun:
		return sessions.GapControlLost
	case broken || strange:
		return sessions.GapHandshakeFailed
	case begun:
		return sessions.GapLocalOverload
	}
	return sessions.GapPeerUnreachable
}
