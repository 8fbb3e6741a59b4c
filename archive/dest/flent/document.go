package flent

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"net/netip"

	"owl/archive"
	"owl/archive/dest/flent/datafile"
	"owl/sessions/result"
)

// document is what a data file wants to know of a result.
type document struct {
	Test struct {
		Spec struct {
			Source string `json:"source"`
			Dest   string `json:"dest"`
			Flip   bool   `json:"flip"`
		} `json:"spec"`
	} `json:"test"`
	Participants []string `json:"participants"`
	Task         struct {
		Href string `json:"href"`
	} `json:"task"`
	Result *struct {
		Succeeded  *bool              `json:"succeeded"`
		Sent       uint64             `json:"packets-sent"`
		Duplicates uint64             `json:"packets-duplicated"`
		Raw        []result.RawPacket `json:"raw-packets"`
		Owl        struct {
			SID        string         `json:"sid"`
			Sender     netip.AddrPort `json:"sender"`
			Receiver   netip.AddrPort `json:"receiver"`
			LeftOut    uint64         `json:"raw-packets-left-out"`
			Synced     bool           `json:"synchronized"`
			ClockError float64        `json:"max-clock-error-ms"`
		} `json:"owl"`
	} `json:"result"`
}

// An entry is what a data file says of one result, beside its packets. It is what
// a spool has of it, too.
type entry struct {
	ID         string     `json:"id"`
	Task       string     `json:"task"` // its address
	Source     string     `json:"source"`
	Dest       string     `json:"dest"`
	Here       string     `json:"here"`  // which host has measured
	There      string     `json:"there"` // and the other
	Target     netip.Addr `json:"target"`
	Duplicates uint64     `json:"duplicates"`
	LeftOut    uint64     `json:"left-out"`
	Synced     bool       `json:"synchronized"`
	ClockError float64    `json:"clock-error-ms"`
	SID        string     `json:"sid"`
	Sender     string     `json:"sender"`
	Receiver   string     `json:"receiver"`
	Packets    int        `json:"packets"`
	Begin      int64      `json:"begin"`  // when the first was sent, in nanoseconds since 1970
	Length     int64      `json:"length"` // from then to the last, in nanoseconds
	Sum        uint32     `json:"sum"`    // CRC-32 of the packets in the spool
}

// A part is one result of a data file.
type part struct {
	entry
	samples iter.Seq2[datafile.Sample, error] // whose sessions are 0
}

// errNoPackets is a result of which there could be no data file.
var errNoPackets = errors.New("the result has no raw-packets: want all packets of what is measured, which a transform does not take away")

// read returns what a data file says of a result, and nil if that is nothing: no
// packet was sent, or nothing was measured.
func read(item *archive.Item) (*part, error) {
	var d document
	if err := json.Unmarshal(item.Payload, &d); err != nil {
		return nil, fmt.Errorf("want the document of a result: %w", err)
	}
	r, spec := d.Result, &d.Test.Spec
	if r == nil || r.Succeeded == nil || spec.Source == "" || spec.Dest == "" {
		return nil, errors.New("want the document of a result of a latency test, which says its source and its dest")
	}
	switch {
	case !*r.Succeeded || r.Sent == 0:
		return nil, nil
	case len(r.Raw) == 0:
		return nil, errNoPackets
	}
	p := &part{entry: entry{
		ID:         item.ID,
		Task:       d.Task.Href,
		Source:     spec.Source,
		Dest:       spec.Dest,
		Here:       spec.Source,
		There:      spec.Dest,
		Target:     r.Owl.Receiver.Addr().Unmap(),
		Duplicates: r.Duplicates,
		LeftOut:    r.Owl.LeftOut,
		Synced:     r.Owl.Synced,
		ClockError: r.Owl.ClockError,
		SID:        r.Owl.SID,
		Packets:    len(r.Raw),
	}}
	if spec.Flip {
		p.Here, p.There, p.Target = spec.Dest, spec.Source, r.Owl.Sender.Addr().Unmap()
	}
	if len(d.Participants) > 0 {
		p.Here = d.Participants[0]
	}
	if r.Owl.Sender.IsValid() && r.Owl.Receiver.IsValid() {
		p.Sender, p.Receiver = r.Owl.Sender.String(), r.Owl.Receiver.String()
	}
	first, last := int64(math.MaxInt64), int64(math.MinInt64)
	for i := range r.Raw {
		sent := sampleOf(&r.Raw[i]).Sent
		first, last = min(first, sent), max(last, sent)
	}
	p.Begin, p.Length = first, last-first
	p.samples = func(yield func(datafile.Sample, error) bool) {
		for i := range r.Raw {
			if !yield(sampleOf(&r.Raw[i]), nil) {
				return
			}
		}
	}
	return p, nil
}

// sampleOf returns what became of a packet.
func sampleOf(k *result.RawPacket) datafile.Sample {
	sec, nsec := k.Sent.Unix()
	s := datafile.Sample{Sent: sec*1e9 + nsec, Seq: k.Seq, Lost: k.Recv == 0}
	if !s.Lost {
		s.Delay = int64(k.Recv.Sub(k.Sent))
	}
	return s
}

// pathOf returns the path, and its name, of parts that are of one task.
func pathOf(parts []*part) (string, datafile.Path) {
	first := parts[0]
	var sessions []string
	var duplicates, leftOut uint64
	synced, clockError := true, 0.0
	for _, p := range parts {
		sessions = append(sessions, p.SID)
		duplicates += p.Duplicates
		leftOut += p.LeftOut
		synced = synced && p.Synced
		clockError = max(clockError, p.ClockError)
	}
	m := map[string]any{
		"OWAMP_SESSIONS":     sessions,
		"OWAMP_DUPLICATES":   duplicates,
		"OWAMP_SYNCHRONIZED": synced,
		"OWAMP_MAX_ERROR_MS": clockError,
		"OWAMP_SENDER":       first.Sender,
		"OWAMP_RECEIVER":     first.Receiver,
	}
	if leftOut > 0 {
		m["OWAMP_PACKETS_LEFT_OUT"] = leftOut
	}
	return first.Source + " to " + first.Dest, datafile.Path{Metadata: m, Samples: func(yield func(datafile.Sample, error) bool) {
		for i, p := range parts {
			for s, err := range p.samples {
				s.Session = uint32(i)
				if !yield(s, err) || err != nil {
					return
				}
			}
		}
	}}
}
