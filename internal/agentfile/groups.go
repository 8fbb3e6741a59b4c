package agentfile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// How the members of a group measure to each other.
const (
	pairsAll      = "all"
	pairsOneToAll = "one-to-all"
)

// A member is a host of a group.
type member struct {
	name, address string
	line          int
}

// groups reads the list of groups. All members may have the same file: each
// takes from a group the streams that are its own.
func (p *parser) groups(n *node, base *template) {
	seen := make(map[string]int)
	for _, e := range p.list(n) {
		t := *base
		var name, pairs, centre string
		var members []member
		fields := []field{
			{name: "name", read: func(n *node) { name = p.name(n) }},
			{name: "pairs", read: func(n *node) { pairs = p.option(n, pairsAll, pairsOneToAll) }},
			{name: "centre", read: func(n *node) { centre = p.name(n) }},
			{name: "members", read: func(n *node) { members = p.members(n) }},
		}
		failed := p.failed
		p.mapping(e, "group: ", append(fields, p.common(&t)...))
		for _, key := range []string{"name", "pairs", "members"} {
			if e.Kind == yamlMapping && !e.has(key) {
				p.fail(e, "group: want %s", key)
			}
		}
		if p.failed > failed {
			continue // what follows from an error is none
		}
		if line, twice := seen[name]; twice {
			p.fail(e, "group %s: want another name, the group in line %d has it", name, line)
			continue
		}
		seen[name] = e.Line
		isMember := func(name string) bool {
			return slices.ContainsFunc(members, func(m member) bool { return m.name == name })
		}
		switch {
		case pairs == pairsOneToAll && !isMember(centre):
			p.fail(e, "group %s: centre %q: want the member that measures to all others", name, centre)
			continue
		case pairs == pairsAll && centre != "":
			p.fail(e, "group %s: centre: want none where all pairs measure", name)
			continue
		case pairs == pairsAll && t.direction == both:
			p.fail(e, "group %s: direction both: want receive or send, for both would measure each pair twice", name)
			continue
		case !isMember(p.cfg.Host):
			p.remark("group %s: this host is called %s, and is no member: it has no streams of the group (host: says how it is called)", name, p.cfg.Host)
			continue
		case pairs == pairsOneToAll && p.cfg.Host != centre:
			p.remark("group %s: %s measures, this host answers", name, centre)
			continue
		}
		if pairs == pairsOneToAll && !e.has("direction") {
			t.direction = both // nobody else measures these pairs
		}
		for _, m := range members {
			if m.name != p.cfg.Host {
				s := t
				s.Name, s.Remote, s.Peer = name+"/"+m.name, m.name, m.address
				p.add(m.line, &s)
			}
		}
	}
}

func (p *parser) remark(format string, args ...any) {
	p.cfg.Remarks = append(p.cfg.Remarks, fmt.Sprintf(format, args...))
}

// members reads names of hosts and their addresses.
func (p *parser) members(n *node) []member {
	values := p.entries(n, "members: ")
	if len(values) > maxMembers {
		p.fail(n, "members: want at most %d", maxMembers)
		return nil
	}
	var all []member
	for i := range values {
		v := &values[i]
		if !names.MatchString(v.key) {
			p.fail(v, "members: %q: want at most 64 letters, digits, dots, dashes and underscores", short(v.key))
			continue
		}
		all = append(all, member{v.key, p.address(v), v.Line})
	}
	if len(values) < 2 && n.Kind == yamlMapping {
		p.fail(n, "members: want at least 2")
	}
	return all
}

// mostTold is how many streams an error of the budget names.
const mostTold = 3

// checkBudget refuses streams that have more packets together than the host may
// have, and says which have most.
func (p *parser) checkBudget(root *node) {
	sum := p.cfg.Rate()
	if sum <= float64(p.cfg.Budget)*(1+1e-9) { // what is added up is rounded
		return
	}
	most := slices.Clone(p.cfg.Streams)
	slices.SortStableFunc(most, func(a, b Stream) int { return cmp.Compare(b.Rate(), a.Rate()) })
	var told []string
	for i := range most[:min(len(most), mostTold)] {
		told = append(told, fmt.Sprintf("%v (line %d) has %.6g", most[i].Key, p.lines[most[i].Key], most[i].Rate()))
	}
	line := root.Line
	for i := 0; i < len(root.Content); i += 2 {
		if root.Content[i].Value == "budget" {
			line = root.Content[i].Line
		}
	}
	p.failAt(line, "budget: %d streams have %.6g packets/s on average: want at most %d together, or a greater budget; %s",
		len(p.cfg.Streams), sum, p.cfg.Budget, strings.Join(told, ", "))
}
