package agentfile

import (
	"net/netip"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// DefaultArchiveListen is where a measurement archive listens unless it says
// otherwise: for this host alone.
const DefaultArchiveListen = "127.0.0.1:8861"

// A MeasurementArchive is the archive half: what owarchive is by itself. All
// results of the agent are kept there.
type MeasurementArchive struct {
	Line       int            // in the file
	Store      string         // a file, or the URL of a PostgreSQL database, which may have a password
	Listen     string         // host:port or :port
	TLSCert    string         // file; empty: without TLS
	TLSKey     string         // file; TLSCert, too, unless it says otherwise
	Retention  []string       // rules that say how long what is kept; none: forever
	AllowWrite []netip.Prefix // who may write without a key
	TrustProxy []netip.Prefix // proxies that are believed for whom they ask
	CORS       []string       // origins whose pages may read
}

// Equal reports whether both, which may be nil, say the same.
func (a *MeasurementArchive) Equal(b *MeasurementArchive) bool {
	if a == nil || b == nil {
		return a == b
	}
	c, d := *a, *b
	c.Line, d.Line = 0, 0
	return reflect.DeepEqual(c, d)
}

// maxRules bounds the lists of a measurement archive.
const maxRules = 1000

// measurementArchive reads the archive half.
func (p *parser) measurementArchive(n *node) {
	a := &MeasurementArchive{Line: n.Line, Listen: DefaultArchiveListen}
	p.cfg.Archive = a
	p.mapping(n, "archive: ", p.archiveFields(a))
	if n.Kind != yamlMapping {
		return // which was told
	}
	if !n.has("store") {
		p.fail(n, "archive: want store, a file, or the URL of a PostgreSQL database")
	}
	if n.has("tls_key") && !n.has("tls_cert") {
		p.fail(n, "archive: tls_key: want tls_cert, too, for whose key it is")
	}
	if a.TLSKey == "" {
		a.TLSKey = a.TLSCert
	}
}

func (p *parser) archiveFields(a *MeasurementArchive) []field {
	return []field{
		{name: "store", read: func(n *node) { a.Store = p.text(n) }},
		{name: "listen", read: func(n *node) { a.Listen = p.listenAddress(n) }},
		{name: "tls_cert", read: func(n *node) { a.TLSCert = p.text(n) }},
		{name: "tls_key", read: func(n *node) { a.TLSKey = p.text(n) }},
		{name: "retention", read: func(n *node) { a.Retention = p.texts(n) }},
		{name: "allow_write", read: func(n *node) { a.AllowWrite = p.prefixes(n) }},
		{name: "trust_proxy", read: func(n *node) { a.TrustProxy = p.prefixes(n) }},
		{name: "cors", read: func(n *node) { a.CORS = p.texts(n) }},
	}
}

// texts reads a text, or a list of them.
func (p *parser) texts(n *node) (all []string) {
	for _, e := range p.oneOrMore(n) {
		if s := strings.TrimSpace(p.text(e)); s != "" {
			all = append(all, s)
		}
	}
	return all
}

// prefixes reads a network, as 192.0.2.0/24, or an address, or a list of them.
func (p *parser) prefixes(n *node) (all []netip.Prefix) {
	for _, e := range p.oneOrMore(n) {
		s := p.text(e)
		if s == "" {
			continue // which was told
		}
		prefix, err := netip.ParsePrefix(s)
		if err != nil {
			var a netip.Addr
			if a, err = netip.ParseAddr(s); err == nil {
				prefix, err = a.Unmap().Prefix(a.Unmap().BitLen())
			}
		}
		if err != nil {
			p.fail(e, "%s: %q: want a network as 192.0.2.0/24, or an address", n.key, short(s))
			continue
		}
		all = append(all, prefix.Masked())
	}
	return all
}

// oneOrMore returns the elements of a list, or n alone if it is none.
func (p *parser) oneOrMore(n *node) []*node {
	if n.Kind != yaml.SequenceNode {
		return []*node{n}
	}
	all := p.list(n)
	if len(all) > maxRules {
		p.fail(n, "%s: want at most %d", n.key, maxRules)
		return nil
	}
	return all
}
