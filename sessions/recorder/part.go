package recorder

import (
	"owl/owamp"
	"owl/owamp/schedule"
)

// A Part is a run of a session's packets that is summarized by itself.
type Part struct {
	Index       int
	First, Last uint32          // sequence numbers [First, Last)
	Start, End  owamp.Timestamp // the scheduled time of packet First-1 (or the session's start) and of packet Last-1
	Offset      int64           // no record of the part lies before this index in the file
}

// Parts walks through a session part by part.
type Parts struct {
	schedule schedule.Generator // stands at the end of last
	packets  uint32             // of the session
	each     uint32             // of a part; 0: there are no parts
	last     Part
}

// NewParts returns the parts of each packets of the session spec, the last of
// which may have fewer. It fails if the schedule is none.
func NewParts(spec *owamp.SessionSpec, each uint32) (*Parts, error) {
	gen, err := schedule.New(spec.SID, spec.Slots)
	if err != nil {
		return nil, err
	}
	return newParts(gen, spec, each), nil
}

func newParts(gen *schedule.Generator, spec *owamp.SessionSpec, each uint32) *Parts {
	return &Parts{schedule: *gen, packets: spec.Packets, each: each, last: Part{Index: -1, End: spec.Start}}
}

// Next returns the next part, with no Offset, and false when there is none.
func (p *Parts) Next() (Part, bool) {
	first := p.last.Last
	if p.each == 0 || first >= p.packets {
		return Part{}, false
	}
	next := Part{Index: p.last.Index + 1, First: first, Start: p.last.End, End: p.last.End}
	next.Last = first + min(p.each, p.packets-first)
	for range next.Last - next.First {
		next.End = next.End.Add(p.schedule.Next())
	}
	p.last = next
	return next, true
}
