// Package esmond brings results to measurement archives that speak esmond's
// language, as pScheduler's archiver of that name does: it registers what was
// measured, and writes the values under the key that it is given for that.
//
// A result is delivered when all its values are written. That the archive has a
// value already, of the same measurement, event type and second, counts as
// written, and so repeats do no harm; a consumer knows them by
// pscheduler-run-href.
package esmond

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"owl/archive"
	"owl/archive/dest/dial"
	"owl/archive/dest/esmond/mapping"
	"owl/archive/member"
	"owl/archive/retry"
)

const (
	// timeout bounds each request, and finding addresses.
	timeout = 5 * time.Second
	// parallel is how many results may be on their way at once, of different
	// measurements: see turn.
	parallel     = 8
	maxSummaries = 1000
	// maxWindow bounds summaries: a hundred years.
	maxWindow = 100 * 366 * 24 * 60 * 60
)

// A Lookup finds the addresses of a host; network is ip. Of a name that there is
// not it returns a [net.DNSError] that says so.
type Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

// A destination is an archive, and what is known of it.
type destination struct {
	archive writer
	mapper  mapping.Mapper
	find    Lookup
	keys    keys
	turns   []chan struct{} // see turn; nil: nobody needs to wait
}

// A writer writes to an archive: a [client], or an [own].
type writer interface {
	// register registers a measurement, which may be there already, and returns
	// its key.
	register(ctx context.Context, metadata map[string]any) (key string, err error)
	// put writes the values of a record, which may have been tried before.
	put(ctx context.Context, key string, r *mapping.Record, again bool) error
	// close gives back what the writer has opened.
	close()
}

// Open returns the destination that o, the data of a specification, describes.
// What is wrong with them it notes in o.
func Open(o *member.Object, _ *archive.Spec) (archive.Opened, error) {
	return open(o, net.DefaultResolver.LookupNetIP), nil
}

func open(o *member.Object, find Lookup) archive.Opened {
	o.Int("schema", 1, 1, 1)
	o.Need("url")
	c := &client{url: readURL(o, "url")}
	c.readAuth(o)
	mapper := mapping.Mapper{
		Policy:    mapping.Policy(o.Option("data-formatting-policy", string(mapping.PreferMapped), string(mapping.MappedAndRaw), string(mapping.MappedOnly), string(mapping.RawOnly))),
		Agent:     o.String("measurement-agent"),
		Summaries: readSummaries(o),
	}
	c.Client = dial.Web(o.String("bind"), timeout, o.Bool("verify-ssl", false))
	return opened(c, mapper, find, retry.Read(o, true))
}

// opened returns the destination that is an archive.
func opened(w writer, mapper mapping.Mapper, find Lookup, policy retry.Policy) archive.Opened {
	d := &destination{archive: w, mapper: mapper, find: find, turns: make([]chan struct{}, turns)}
	for i := range d.turns {
		d.turns[i] = make(chan struct{}, 1)
	}
	return archive.Opened{Destination: d, Retry: policy, Parallel: parallel}
}

// readURL reads a member that is the URL which those of all requests begin with.
func readURL(o *member.Object, name string) string {
	s := dial.ReadURL(o, name)
	if u, err := url.Parse(s); err == nil && (u.RawQuery != "" || u.ForceQuery || u.Fragment != "") {
		o.Fail(name, "want a URL without ? and #")
	}
	if !strings.HasSuffix(s, "/") {
		s += "/"
	}
	return s
}

// readAuth reads how requests are authorized: by _auth-token, as esmond has it
// now; by _api-key, USER:KEY, as it had it before; or by our address.
func (c *client) readAuth(o *member.Object) {
	token, key := o.String("_auth-token"), o.String("_api-key")
	c.write = http.MethodPut
	switch {
	case token != "" && o.Has("_api-key"):
		o.Fail("_api-key", "want either it or _auth-token")
	case token != "":
		c.auth = "Token " + token
	case o.Has("_api-key"):
		user, secret, found := strings.Cut(key, ":")
		if !found || user == "" || secret == "" {
			o.Fail("_api-key", "want a user's name and key, USER:KEY")
		}
		c.auth, c.write = "ApiKey "+key, http.MethodPost
	}
	if strings.ContainsFunc(c.auth, func(r rune) bool { return r < ' ' || r > '~' }) {
		name := "_auth-token"
		if token == "" {
			name = "_api-key"
		}
		o.Fail(name, "want printable characters of ASCII")
	}
}

// readSummaries reads which summaries the archive is to make; nil: the usual ones.
func readSummaries(o *member.Object) []mapping.Summary {
	const name = "summaries"
	if !o.Has(name) {
		return nil
	}
	all := o.Objects(name)
	if len(all) > maxSummaries {
		o.Fail(name, "%d summaries: want at most %d", len(all), maxSummaries)
		return nil
	}
	list := make([]mapping.Summary, len(all))
	for i, e := range all {
		e.Need("event-type", "summary-type", "summary-window")
		list[i] = mapping.Summary{
			EventType: e.Text("event-type"),
			Type:      e.Text("summary-type"),
			Window:    e.Int("summary-window", 0, maxWindow, 0),
		}
		e.Done()
	}
	return list
}

// Deliver brings a result to the archive. A result that cannot be mapped is a
// [*archive.FinalError]; all that the archive says can change.
func (d *destination) Deliver(ctx context.Context, item *archive.Item) error {
	records, err := d.mapper.Records(item.Payload, item.RunHref)
	if err != nil {
		return archive.Final(err)
	}
	var errs []error
	for i := range records {
		errs = append(errs, d.deliver(ctx, &records[i], item.Tries > 0))
	}
	return errors.Join(errs...)
}

// deliver stores one record, which may have been tried before.
func (d *destination) deliver(ctx context.Context, r *mapping.Record, again bool) error {
	if len(r.Values) == 0 {
		return nil
	}
	id, err := idOf(r)
	if err != nil {
		return archive.Final(err)
	}
	done, err := d.turn(ctx, id)
	if err != nil {
		return err
	}
	defer done()
	key, known := d.keys.get(id)
	if !known {
		metadata, err := d.address(ctx, r)
		if err == nil {
			key, err = d.archive.register(ctx, metadata)
		}
		if err != nil {
			return err
		}
		d.keys.put(id, key)
	}
	if err := d.archive.put(ctx, key, r, again); err != nil {
		d.keys.drop(id) // it may be the key that is wrong
		return err
	}
	return nil
}

// Close gives back the connections.
func (d *destination) Close() error {
	d.archive.close()
	return nil
}
