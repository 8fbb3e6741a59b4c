package sessions

import (
	"owl/owamp"
	"owl/owamp/owp"
	"owl/owamp/stats"
	"owl/sessions/recorder"
	"owl/sessions/result"
)

// each returns of what the stream makes results.
func (s *Stream) each() Each {
	if s.cfg.Part == 0 {
		return EachSession
	}
	return s.cfg.Each
}

// newFold returns what a result of a session, or of a part, is made with; nil if
// nobody wants it.
func (s *session) newFold(of Each) *result.Fold {
	if s.results == nil || s.each() != of {
		return nil
	}
	return result.NewFold(s.cfg.Raw)
}

// result returns the result of what fold and sum have seen.
func (s *session) result(fold *result.Fold, sum *stats.Summary, e result.Extent) *result.Result {
	e.Made = s.cfg.Clock.Now().Time()
	return fold.Result(s.results.task, sum, e)
}

// restResults returns the results of the parts of a session that is over which
// have none yet, as far as it was measured: those where it was cut.
func (s *session) restResults(r *owp.Reader, until owamp.Timestamp) []*result.Result {
	if s.results == nil || s.each() != EachPart || s.reported == s.spec.Packets {
		return nil
	}
	parts, err := recorder.NewParts(&s.spec, s.cfg.Part)
	if err != nil {
		s.log.Error(err.Error())
		return nil
	}
	var made []*result.Result
	for p, ok := parts.Next(); ok && p.Start.Before(until); p, ok = parts.Next() {
		if p.First < s.reported {
			continue
		}
		fold := s.newFold(EachPart)
		sum, err := s.summarize(r, r.Batches(0), fold, stats.Options{First: p.First, Last: p.Last})
		if err != nil {
			s.partFailed(p, err)
			continue
		}
		e := result.Extent{Part: p.Index, Start: p.Start, End: p.End, Until: p.End}
		if until.Before(p.End) {
			e.Until = until
		}
		made = append(made, s.result(fold, sum, e))
	}
	return made
}

// tellResults tells of the results of a session that is settled.
func (s *session) tellResults() {
	for _, r := range s.made {
		if lost := s.track.Evidence().Lost; r.Part < 0 && lost.Total() == r.Lost {
			r.LostBy = make(map[string]uint64)
			for c := range Causes() {
				r.LostBy[c.String()] = lost[c]
			}
		}
		s.results.measured(r)
	}
	s.made = nil
}
