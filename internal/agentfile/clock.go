package agentfile

import (
	"time"

	"owl/probe/clock"
)

// clock reads who is asked how good this host's clock is, beside its kernel.
func (p *parser) clock(n *node) {
	s := &p.cfg.Clock
	p.mapping(n, "clock: ", []field{
		{name: "chrony", read: func(n *node) {
			s.Chrony = p.text(n)
			p.check(n, clock.Sources{Chrony: s.Chrony})
		}},
		{name: "ntp", read: func(n *node) {
			for _, e := range p.list(n) {
				server := p.text(e)
				if server == "" {
					continue // which was told
				}
				if p.check(e, clock.Sources{NTP: append(s.NTP, server)}) {
					s.NTP = append(s.NTP, server)
				}
			}
		}},
		{name: "every", read: func(n *node) {
			s.Every = time.Duration(p.seconds(n, clock.LeastEvery.Seconds()) * float64(time.Second))
			p.check(n, clock.Sources{Every: s.Every})
		}},
	})
	if n.has("every") && !n.has("ntp") {
		p.fail(n, "clock: every: want ntp, too, the servers that are asked so often")
	}
}

// check reports whether nothing is wrong with s, of which n is a part.
func (p *parser) check(n *node, s clock.Sources) bool {
	err := s.Check()
	if err != nil {
		p.fail(n, "clock: %w", err)
	}
	return err == nil
}
