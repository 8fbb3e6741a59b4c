package api

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"owl/archive/series"
	"owl/archive/store"
)

const (
	// pageSize is how many measurements, or points, an answer has unless the client
	// says otherwise. It is esmond's; the REST guide speaks of 1000.
	pageSize = 1500
	// atOnce is how many measurements are in memory for one answer.
	atOnce = 500
	// lookupTime is for how long the addresses of a host are asked for.
	lookupTime = 5 * time.Second
	// longestHost is how many octets a name in the DNS may have, and hostLetters
	// are what it may be made of.
	longestHost = 253
	hostLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._"
)

// reserved are the parameters of a search that say nothing of a measurement.
var reserved = []string{"format", "limit", "offset", "dns-match-rule", "time", "time-start", "time-end", "time-range"}

// search answers GET of the archive: the measurements that all parameters hold
// for, by key, a page of them. The first has how many there are altogether, and
// where the pages before and behind it are.
func (q *request) search() error {
	f, err := q.filter()
	if err != nil {
		return err
	}
	if f == nil {
		return q.answerJSON(http.StatusOK, []byte("[]"))
	}
	p := q.page()
	// A page may be as long as the client likes, so it is had in pieces.
	f.Offset, f.Limit = p.offset, min(p.limit, atOnce)
	found, total, err := q.handler.store.Search(q.Context(), f)
	if err != nil {
		return err
	}
	previous, next := q.pages(p, p.limit < total-p.offset)
	q.link(previous, next)
	q.answer.begin(http.StatusOK, typeJSON)
	about := &overview{total: total, previous: previous, next: next}
	b := append(q.answer.room(), '[')
	for left := p.limit; ; {
		for _, m := range found {
			if about == nil {
				b = append(b, ',')
			}
			b = q.appendMetadata(b, m, about)
			about = nil
			if b, err = q.answer.more(b); err != nil {
				return err
			}
		}
		left -= len(found)
		if left == 0 || len(found) < f.Limit {
			break
		}
		f.After, f.Offset, f.Limit = found[len(found)-1].Key, 0, min(left, atOnce)
		if found, _, err = q.handler.store.Search(q.Context(), f); err != nil {
			return err
		}
	}
	return q.answer.put(append(b, ']'))
}

// filter returns what the parameters of a search say of measurements; nil: nothing
// that any measurement has.
func (q *request) filter() (*store.Filter, error) {
	s, err := parseSpan(q.query, q.now())
	if err != nil {
		return nil, err
	}
	f := &store.Filter{Parameters: make(map[string]string)}
	f.UpdatedFrom, f.UpdatedTo = s.ofUpdates()
	hosts := map[string]*[]netip.Addr{"source": &f.Source, "destination": &f.Destination, "measurement-agent": &f.MeasurementAgent}
	possible := true
	for name, value := range q.query {
		switch name {
		case "source", "destination", "measurement-agent":
			if *hosts[name], err = q.addresses(value, q.query["dns-match-rule"]); err != nil {
				return nil, err
			}
		case "tool-name":
			f.ToolName = &value
		case "input-source":
			f.InputSource = &value
		case "input-destination":
			f.InputDestination = &value
		case "subject-type":
			f.SubjectType = value
			possible = possible && value != ""
		case "metadata-key":
			f.Key = value
			possible = possible && value != ""
		case "event-type":
			f.Event = series.EventType(value)
			possible = possible && value != ""
		case "summary-type":
			t, ok := series.ParseSummaryType(value)
			f.SummaryType = &t
			possible = possible && ok
		case "summary-window":
			window, err := parseInt(value)
			if err != nil {
				return nil, bad("Summary window parameter must be an integer")
			}
			f.Window = &window
		default:
			if !slices.Contains(reserved, name) {
				f.Parameters[name] = value
			}
		}
	}
	if !possible {
		return nil, nil
	}
	return f, nil
}

func (q *request) now() int64 { return q.handler.Now().Unix() }

// families are those in which addresses are looked for, by what dns-match-rule
// says; where the first is enough the second is for when it has none. The last two
// names are in the REST guide's example, which esmond itself refuses.
var families = map[string]struct {
	networks []string
	enough   bool
}{
	"":          {networks: []string{"ip4", "ip6"}},
	"v4v6":      {networks: []string{"ip4", "ip6"}},
	"only-v4":   {networks: []string{"ip4"}},
	"only-v6":   {networks: []string{"ip6"}},
	"prefer-v4": {networks: []string{"ip4", "ip6"}, enough: true},
	"prefer-v6": {networks: []string{"ip6", "ip4"}, enough: true},
	"v4-only":   {networks: []string{"ip4"}},
	"v6-only":   {networks: []string{"ip6"}},
}

// addresses returns all addresses of a host, whose own one may be its name, in the
// families that a rule wants.
func (q *request) addresses(host, rule string) ([]netip.Addr, error) {
	f, ok := families[rule]
	if !ok {
		return nil, bad("Invalid dns-match-rule parameter %s", rule)
	}
	ctx, cancel := context.WithTimeout(q.Context(), lookupTime)
	defer cancel()
	var all []netip.Addr
	for _, network := range f.networks {
		all = append(all, q.lookup(ctx, network, host)...)
		if f.enough && len(all) > 0 {
			break
		}
	}
	if len(all) == 0 {
		return nil, bad("Unable to find address for host %s", host)
	}
	return all, nil
}

// lookup returns the addresses of a host in one family; none if there are none, or
// nobody knows.
func (q *request) lookup(ctx context.Context, network, host string) []netip.Addr {
	fits := func(a netip.Addr) bool { return a.Is4() == (network == "ip4") }
	if a, err := netip.ParseAddr(host); err == nil {
		if a = a.WithZone(""); network == "ip4" {
			a = a.Unmap() // it is of both families, and may be registered as either
		}
		if fits(a) {
			return []netip.Addr{a}
		}
		return nil
	}
	if !isHostName(host) {
		return nil
	}
	found, err := q.handler.Resolver.LookupNetIP(ctx, network, host)
	if err != nil {
		return nil
	}
	var all []netip.Addr
	for _, a := range found {
		if a = a.Unmap().WithZone(""); fits(a) {
			all = append(all, a)
		}
	}
	return all
}

// isHostName reports whether the DNS may know a name; nobody else is asked.
func isHostName(s string) bool {
	return s != "" && len(s) <= longestHost && !strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune(hostLetters, r) })
}

// readMetadata answers GET of one measurement.
func (q *request) readMetadata() error {
	m, err := q.handler.store.Metadata(q.Context(), q.key)
	if err != nil {
		return err
	}
	return q.answerJSON(http.StatusOK, q.appendMetadata(nil, m, nil))
}

// readEvent answers GET of an event type with a list of what there is of it; it is
// empty for one that the measurement has not, as it is if there is no measurement.
func (q *request) readEvent() error {
	b := []byte{'['}
	e, err := q.registered()
	if err != nil {
		return err
	}
	if e != nil {
		b = q.appendEvent(b, q.key, e)
	}
	return q.answerJSON(http.StatusOK, append(b, ']'))
}

// registered returns what there is of the event type of the URL; nil: nothing.
func (q *request) registered() (*series.Event, error) {
	m, err := q.handler.store.Metadata(q.Context(), q.key)
	if errors.Is(err, store.ErrUnknownKey) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return m.Event(series.EventType(q.event)), nil
}
