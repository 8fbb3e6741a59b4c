package result

import (
	"time"

	"owl/owamp"
	"owl/owamp/owp"
	"owl/owamp/schedule"
	"owl/owamp/stats"
)

// FileOptions say how a file becomes a result.
type FileOptions struct {
	BucketWidth float64   // s, of the histogram's bins; 0: 0.0001
	Raw         bool      // with its packets
	Made        time.Time // now
}

// OfFile returns the result of a session that is over, which r reads. One that did
// not come to its end was measured up to the last packet of which there is a
// record.
func OfFile(task *Task, r *owp.Reader, o FileOptions) (*Result, error) {
	h := r.Header()
	end, err := schedule.End(&h.Spec)
	if err != nil {
		return nil, err
	}
	f := NewFold(o.Raw)
	var last uint32
	any := false
	sum, err := stats.Summarize(&stats.Session{
		Spec:     h.Spec,
		Finished: h.Finished == owp.Normal,
		NextSeq:  h.NextSeq,
		Skips:    r.Skips(),
	}, r.Batches(0), stats.Options{
		BucketWidth: o.BucketWidth,
		Each: func(rec *owamp.Record) {
			last, any = max(last, rec.Seq), true
			f.Observe(rec)
		},
	})
	if err != nil {
		return nil, err
	}
	e := Extent{Part: -1, Start: h.Spec.Start, End: end, Until: end, Made: o.Made}
	switch cut := h.Spec; {
	case h.Finished == owp.Normal && h.NextSeq >= h.Spec.Packets:
	case !any:
		e.Until = e.Start
	default:
		cut.Packets = last + 1
		if e.Until, err = schedule.End(&cut); err != nil {
			return nil, err
		}
	}
	return f.Result(task, sum, e), nil
}
