package agentfile

import "owl/probe"

// engine reads how test packets are sent and received.
func (p *parser) engine(n *node) {
	p.mapping(n, "engine: ", p.engineFields())
}

func (p *parser) engineFields() []field {
	o := &p.cfg.Engine
	return []field{
		{name: "pacing", read: func(n *node) { o.Pacing = word(p, n, probe.ParsePacing) }},
		{name: "capture", read: func(n *node) { o.Capture = word(p, n, probe.ParseCapture) }},
		{name: "pcap", read: func(n *node) { o.Pcap = p.text(n) }},
		{name: "transmit", read: func(n *node) { o.Transmit = word(p, n, probe.ParseTransmit) }},
		{name: "warm", read: func(n *node) { o.Cold = !p.flag(n) }},
	}
}

// word reads a word that parse knows.
func word[T any](p *parser, n *node, parse func(string) (T, error)) T {
	s := p.text(n)
	v, err := parse(s)
	if s != "" && err != nil {
		p.fail(n, "%w", err) // which names the key
	}
	return v
}
