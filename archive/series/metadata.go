package series

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Subject types: what is measured between two hosts, and what is of one.
const (
	PointToPoint   = "point-to-point"
	NetworkElement = "network-element"
)

// Metadata say what is measured, and which series and summaries there are of it.
type Metadata struct {
	Key                                   string // 32 hexadecimal digits as a rule; empty: it has none yet
	SubjectType                           string
	Source, Destination, MeasurementAgent netip.Addr // of NetworkElement there is no Destination
	ToolName                              string
	InputSource, InputDestination         string // of NetworkElement there is no InputDestination
	Parameters                            map[string]string
	Events                                []Event // by name
	// Identity is what makes two registrations one: the same in both if, and
	// only if, they are the same measurement. [Metadata.Identify] has the rule.
	Identity [32]byte
}

// An Event is a series: the values of one event type.
type Event struct {
	Type      EventType
	Updated   int64     // s since 1970, when it was written last; 0: never
	Summaries []Summary // by type and window, and without Base
}

// Event returns the series of an event type; nil: it is not registered.
func (m *Metadata) Event(t EventType) *Event {
	for i := range m.Events {
		if m.Events[i].Type == t {
			return &m.Events[i]
		}
	}
	return nil
}

// A field is one of those of which each subject type has its own.
type field struct {
	name string
	addr func(*Metadata) *netip.Addr // of an address
	text func(*Metadata) *string     // of all else
	pair bool                        // of PointToPoint alone
}

// fields are in the order in which an identity has them.
var fields = []field{
	{name: "destination", addr: func(m *Metadata) *netip.Addr { return &m.Destination }, pair: true},
	{name: "input-destination", text: func(m *Metadata) *string { return &m.InputDestination }, pair: true},
	{name: "input-source", text: func(m *Metadata) *string { return &m.InputSource }},
	{name: "measurement-agent", addr: func(m *Metadata) *netip.Addr { return &m.MeasurementAgent }},
	{name: "source", addr: func(m *Metadata) *netip.Addr { return &m.Source }},
	{name: "tool-name", text: func(m *Metadata) *string { return &m.ToolName }},
}

// reserved are the members of metadata that an archive answers with, so no
// parameter has their name, with underscores in it or dashes.
var reserved = []string{"metadata-key", "url", "uri", "subject-type", "event-types", "metadata-count-total", "metadata-previous-page", "metadata-next-page"}

// A registration is metadata as they are sent.
type registration struct {
	Metadata
	sent       map[string]string // addresses, as they are written
	events     []byte
	hasEvents  bool
	hasSubject bool
	parameters map[string]string
	windows    map[windowsOf]windows
}

// windowsOf is what windows are sorted within.
type windowsOf struct {
	event EventType
	typ   SummaryType
}

// windows says how the windows of summaries were written.
type windows uint8

const (
	asNumbers windows = 1 << iota
	asTexts
)

// ParseMetadata reads a registration, the body of a request, which it does not
// keep. An error is an [InvalidError], with esmond's text. What it returns has no
// key.
func ParseMetadata(body []byte) (*Metadata, error) {
	r := &registration{sent: make(map[string]string), parameters: make(map[string]string), windows: make(map[windowsOf]windows)}
	s := &scanner{text: body}
	switch s.peek() {
	case 0:
		return nil, invalid("Missing subject-type field in request")
	case '{':
	default:
		s.raw()
		if err := s.end(); err != nil {
			return nil, err
		}
		return nil, invalid("Missing subject-type field in request")
	}
	s.object(func(name string) { r.member(s, name) })
	if err := s.end(); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	r.Identity = r.identity(r.sent, r.windows)
	return &r.Metadata, nil
}

// member reads a member of the object. Of several of one name the last holds.
func (r *registration) member(s *scanner, name string) {
	switch name {
	case "subject-type":
		r.hasSubject = true
		r.SubjectType = s.str()
		return
	case "event-types":
		r.hasEvents = true
		r.events = s.raw()
		return
	}
	if s.peek() == 'n' {
		if s.raw(); s.err == nil {
			s.err = invalid("The value of %s must not be null", name)
		}
		return
	}
	dashed := strings.ReplaceAll(name, "_", "-")
	text := s.str()
	if r.parameters[dashed] = text; len(r.parameters) > MaxParameters {
		s.err = invalid("More than %d fields in request", MaxParameters)
	}
}

// check takes what was read apart, in the order in which esmond does.
func (r *registration) check() error {
	switch {
	case !r.hasSubject:
		return invalid("Missing subject-type field in request")
	case !r.hasEvents:
		return invalid("Missing event-types field in request")
	case r.SubjectType != PointToPoint && r.SubjectType != NetworkElement:
		return invalid("Invalid subject type %s", shortened(r.SubjectType))
	}
	if err := r.readEvents(); err != nil {
		return err
	}
	for i := range fields {
		if err := r.subject(&fields[i]); err != nil {
			return err
		}
	}
	r.Parameters = r.parameters
	return r.Check()
}

// subject takes a field of the subject out of the parameters.
func (r *registration) subject(f *field) error {
	text, ok := r.parameters[f.name]
	delete(r.parameters, f.name)
	switch {
	case f.pair && r.SubjectType != PointToPoint:
		if ok {
			return invalid("%s is not allowed for subject type %s", f.name, r.SubjectType)
		}
		return nil
	case !ok:
		return invalid("Missing %s field in request", f.name)
	}
	if f.addr != nil {
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			return invalid("The value of %s must be an IP address: %s", f.name, shortened(text))
		}
		*f.addr(&r.Metadata) = a
		r.sent[f.name] = text
		return nil
	}
	*f.text(&r.Metadata) = text
	return nil
}

// Check returns why metadata cannot be kept, as an [InvalidError]: something that
// their subject type has is missing, or does not belong to it; a text is too long; a
// parameter has the name of something else that an archive answers with; there is
// no such event type or summary, or not in order.
func (m *Metadata) Check() error {
	if m.SubjectType != PointToPoint && m.SubjectType != NetworkElement {
		return invalid("Invalid subject type %s", shortened(m.SubjectType))
	}
	for i := range fields {
		f := &fields[i]
		has := f.addr != nil && f.addr(m).IsValid() || f.text != nil && *f.text(m) != ""
		switch {
		case f.pair && m.SubjectType != PointToPoint:
			if has {
				return invalid("%s is not allowed for subject type %s", f.name, m.SubjectType)
			}
		case f.addr != nil && (!has || f.addr(m).Zone() != ""):
			return invalid("The value of %s must be an IP address", f.name)
		case f.text != nil && (utf8.RuneCountInString(*f.text(m)) > MaxName || strings.ContainsRune(*f.text(m), 0)):
			return invalid("The value of %s must have at most %d characters, and none that is 0", f.name, MaxName)
		}
	}
	if len(m.Parameters) > MaxParameters {
		return invalid("More than %d fields in request", MaxParameters)
	}
	for name, text := range m.Parameters {
		switch {
		case slices.Contains(reserved, name) || slices.ContainsFunc(fields, func(f field) bool { return f.name == name }):
			return invalid("%s is not allowed to be specified", name)
		case name == "" || utf8.RuneCountInString(name) > MaxName || strings.ContainsRune(name, 0):
			return invalid("Name of a field must have 1 to %d characters: %s", MaxName, shortened(name))
		case len(text) > MaxText || strings.ContainsRune(text, 0):
			return invalid("The value of %s must have at most %d octets, and none that is 0", name, MaxText)
		}
	}
	return m.checkEvents()
}

// checkEvents is Check of event types and summaries.
func (m *Metadata) checkEvents() error {
	for i, e := range m.Events {
		kind, ok := e.Type.Kind()
		if !ok || i > 0 && m.Events[i-1].Type >= e.Type {
			return invalid("Invalid event-type %s", shortened(string(e.Type)))
		}
		if len(e.Summaries) > MaxSummaries {
			return invalid("Event-type %s has more than %d summaries", e.Type, MaxSummaries)
		}
		for j, s := range e.Summaries {
			switch {
			case s.Type == Base || !kind.Allows(s.Type):
				return invalid("Summary type %s not allowed for event-type %s", s.Type, e.Type)
			case s.Window < 0 || s.Window > MaxWindow:
				return invalid("Summary window must be an integer from 0 to %d", int64(MaxWindow))
			case j > 0 && e.Summaries[j-1].Compare(s) >= 0:
				return invalid("Summaries of event-type %s must be in order", e.Type)
			}
		}
	}
	return nil
}

// shortened returns the beginning of a text that may be long, for an error.
func shortened(text string) string {
	const most = 100
	if len(text) <= most {
		return text
	}
	for i := range text {
		if i >= most {
			return text[:i] + "…"
		}
	}
	return text
}

// readEvents reads the list of event types.
func (r *registration) readEvents() error {
	s := &scanner{text: r.events}
	switch s.peek() {
	case 'n': // as good as an empty list
		return nil
	case '[':
	default:
		return invalid("event_types must be a list")
	}
	found := make(map[EventType]map[Summary]bool)
	s.array(func() {
		event, summaries, err := r.readEvent(s.raw())
		if err != nil {
			if s.err == nil {
				s.err = err
			}
			return
		}
		if found[event] == nil {
			found[event] = make(map[Summary]bool)
		}
		maps.Copy(found[event], summaries)
		if len(found[event]) > MaxSummaries {
			s.err = invalid("Event-type %s has more than %d summaries", event, MaxSummaries)
		}
	})
	if s.err != nil {
		return s.err
	}
	for _, t := range slices.Sorted(maps.Keys(found)) {
		r.Events = append(r.Events, Event{Type: t, Summaries: slices.SortedFunc(maps.Keys(found[t]), Summary.Compare)})
	}
	for of, w := range r.windows {
		if w == asNumbers|asTexts {
			return invalid("Summary windows of %s %s must all be numbers, or all texts", of.event, of.typ)
		}
	}
	return nil
}

// readEvent reads an element of the list.
func (r *registration) readEvent(raw []byte) (EventType, map[Summary]bool, error) {
	item := members(raw, "event-type", "summaries")
	if item[0] == nil {
		return "", nil, invalid("No event-type defined")
	}
	name := (&scanner{text: item[0]}).str()
	event := EventType(name)
	kind, ok := event.Kind()
	if !ok {
		return "", nil, invalid("Invalid event-type %s", shortened(name))
	}
	all := make(map[Summary]bool)
	s := &scanner{text: item[1]}
	switch s.peek() {
	case 0, 'n':
		return event, nil, nil
	case '[':
	default:
		return "", nil, invalid("Summaries of event-type %s must be a list", event)
	}
	s.array(func() {
		summary, err := r.readSummary(event, kind, s.raw())
		switch {
		case err != nil:
			if s.err == nil {
				s.err = err
			}
		case summary.Type != Base:
			if all[summary] = true; len(all) > MaxSummaries {
				s.err = invalid("Event-type %s has more than %d summaries", event, MaxSummaries)
			}
		}
	})
	return event, all, s.err
}

// readSummary reads a summary of an event type. That of type base is none.
func (r *registration) readSummary(event EventType, kind Kind, raw []byte) (Summary, error) {
	item := members(raw, "summary-type", "summary-window")
	if item[0] == nil {
		return Summary{}, invalid("Summary must contain summary-type")
	}
	name := (&scanner{text: item[0]}).str()
	t, ok := ParseSummaryType(name)
	switch {
	case !ok:
		return Summary{}, invalid("Invalid summary type '%s'", shortened(name))
	case t == Base:
		return Summary{}, nil
	case !kind.Allows(t):
		return Summary{}, invalid("Summary type %s not allowed for event-type %s", t, event)
	case item[1] == nil:
		return Summary{}, invalid("Summary must contain summary-window")
	}
	text, isText, ok := scalar(item[1])
	window, err := strconv.ParseInt(text, 10, 64)
	switch {
	case !ok || err != nil:
		return Summary{}, invalid("Summary window must be an integer")
	case window < 0 || window > MaxWindow:
		return Summary{}, invalid("Summary window must be an integer from 0 to %d", int64(MaxWindow))
	}
	if isText {
		r.windows[windowsOf{event, t}] |= asTexts
	} else {
		r.windows[windowsOf{event, t}] |= asNumbers
	}
	return Summary{Type: t, Window: window}, nil
}

// String returns what the metadata are of, for a log.
func (m *Metadata) String() string {
	if m.SubjectType == PointToPoint {
		return fmt.Sprintf("%s from %s to %s by %s", m.Key, m.Source, m.Destination, m.ToolName)
	}
	return fmt.Sprintf("%s of %s by %s", m.Key, m.Source, m.ToolName)
}
