package queue

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"time"
)

// Reasons of results being dropped.
const (
	ReasonTTL     = "ttl"     // the destination does not want it so late
	ReasonAge     = "age"     // see [Config.MaxAge]
	ReasonSize    = "size"    // see [Config.MaxSize]
	ReasonRequest = "request" // somebody said so
)

// Took are the upper bounds of how long after its coming a result was delivered,
// in [Counts].
var Took = [...]time.Duration{
	time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
	time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour,
}

// Counts are what became of the results of a line since the queue was opened.
type Counts struct {
	Delivered uint64
	Discarded uint64                // nobody wanted them there
	Retried   uint64                // tries that failed, of results that wait for another
	Buried    uint64                // tries that failed, of results that are dead
	Dropped   map[string]uint64     // by reason
	Took      [len(Took) + 1]uint64 // of those delivered, how many took so long; the last one's are above all bounds
	TookAll   time.Duration         // all of them together
}

func newCounts() Counts {
	return Counts{Dropped: map[string]uint64{ReasonTTL: 0, ReasonAge: 0, ReasonSize: 0, ReasonRequest: 0}}
}

// deliver counts a result that was delivered.
func (c *Counts) deliver(took time.Duration) {
	took = max(took, 0) // the clock may have been set back
	i, _ := slices.BinarySearch(Took[:], took)
	c.Delivered++
	c.Took[i]++
	c.TookAll += took
}

// Stats are what there is in a queue.
type Stats struct {
	Size    int64  // octets of results
	MaxSize int64  // how many there may be
	Came    uint64 // results queued since the queue was opened
	Refused uint64 // results that could not be
	Failing error  // why the file cannot be written; nil: it can
	Lines   []LineStats
}

// LineStats are what a line has.
type LineStats struct {
	Name    string
	Used    bool
	Queued  int64     // results that were not tried, or are on their way
	Waiting int64     // that have failed and are tried again, or come out of their turn
	Dead    int64     // that are not
	Oldest  time.Time // when the first came that is to be delivered; zero: there is none
	Counts
}

// Stats returns what there is, of lines that are used and of those that have
// something; by name. With an error there is all but Oldest.
func (q *Queue) Stats(ctx context.Context) (Stats, error) {
	q.mu.Lock()
	s := Stats{Size: q.size, MaxSize: q.cfg.MaxSize, Came: q.came.Load(), Refused: q.refused.Load(), Failing: q.failing}
	lines := q.byName()
	cursors := make([]int64, len(lines))
	for i, l := range lines {
		cursors[i] = l.cursor
		n := LineStats{Name: l.name, Used: l.used, Waiting: l.waiting, Dead: l.dead, Counts: l.counts}
		n.Dropped = maps.Clone(l.counts.Dropped)
		if l.used {
			n.Queued = q.last - l.cursor
			for _, h := range l.out {
				if h.settled {
					n.Queued--
				}
			}
		}
		s.Lines = append(s.Lines, n)
	}
	q.mu.Unlock()
	for i, l := range lines {
		if err := q.oldest(ctx, l, cursors[i], &s.Lines[i]); err != nil {
			return s, q.because(err)
		}
	}
	return s, nil
}

// oldest adds what the file knows of a line whose cursor is given.
func (q *Queue) oldest(ctx context.Context, l *Line, cursor int64, n *LineStats) error {
	if n.Queued+n.Waiting == 0 {
		return nil
	}
	return q.store.look(ctx, func(rows *sql.Rows) (bool, error) {
		var arrived int64
		err := rows.Scan(&arrived)
		if at := fromNano(arrived); n.Oldest.IsZero() || at.Before(n.Oldest) {
			n.Oldest = at
		}
		return true, err
	}, "SELECT * FROM (SELECT arrived FROM results WHERE seq > ? AND ? ORDER BY seq LIMIT 1)"+
		" UNION ALL SELECT * FROM (SELECT arrived FROM waiting w JOIN results r ON r.seq = w.seq WHERE line = ? AND state = ? ORDER BY w.seq LIMIT 1)",
		cursor, n.Queued > 0, l.id, stateWaiting)
}
