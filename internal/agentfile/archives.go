package agentfile

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Archiving says where results go. Two that are equal say the same.
type Archiving struct {
	Archives []Archive
	Defaults []string // directories of more archives; nil: those of the host
	Parts    bool     // a result is that of a sub-session, where there are any
	Queue    Queue
}

// An Archive is text that is an archive specification, several of them in an
// array or a template of pSConfig, or the name of a file of them behind an @.
type Archive struct {
	Line int // in the file
	Text string
}

// A Queue is where results wait for their archives. What is 0 or empty is as the
// queue has it by itself.
type Queue struct {
	Path    string
	MaxSize int64 // octets of results
	MaxAge  time.Duration
	Full    string        // what goes when it is full: oldest or newest
	Keep    time.Duration // how long delivered results stay, to be replayed
}

// maxArchives bounds the archives of a file.
const maxArchives = 1000

// archives reads a list of archives, or what a template of pSConfig has under
// that name.
func (p *parser) archives(n *node) {
	if !p.plain(n) {
		return
	}
	a := &p.cfg.Archiving
	if n.Kind == yamlMapping {
		a.Archives = append(a.Archives, p.archive(n))
		return
	}
	for _, e := range p.list(n) {
		a.Archives = append(a.Archives, p.archive(e))
	}
	if len(a.Archives) > maxArchives {
		p.fail(n, "archives: want at most %d", maxArchives)
	}
}

// archive reads one of them. What is YAML it makes JSON of.
func (p *parser) archive(n *node) Archive {
	if n.Kind == yaml.ScalarNode && n.Tag != "!!null" {
		if p.plain(n) && strings.TrimSpace(n.Value) == "" {
			p.fail(n, "archives: want a specification, not nothing")
		}
		return Archive{n.Line, n.Value}
	}
	if n.Kind != yamlMapping {
		p.fail(n, "archives: want a specification, or @ and the name of its file, not %s", kind(n))
		return Archive{Line: n.Line}
	}
	text, err := json.Marshal(p.value(n))
	if err != nil {
		p.fail(n, "archives: %w", err)
	}
	return Archive{n.Line, string(text)}
}

// value returns what n is in JSON.
func (p *parser) value(n *node) any {
	if !p.plain(n) {
		return nil
	}
	switch n.Kind {
	case yamlMapping:
		all := make(map[string]any)
		values := p.entries(n, "archives: ")
		for i := range values {
			all[values[i].key] = p.value(&values[i])
		}
		return all
	case yaml.SequenceNode:
		all := make([]any, len(n.Content))
		for i, e := range n.Content {
			all[i] = p.value(&node{Node: e, key: n.key})
		}
		return all
	}
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool", "!!int", "!!float":
		var v any
		if err := n.Decode(&v); err != nil {
			p.fail(n, "archives: %q: %w", short(n.Value), err)
		}
		return v
	}
	return n.Value // of a time, too
}

// defaultArchives reads one directory, or a list; none of them is an empty list.
func (p *parser) defaultArchives(n *node) {
	dirs := []string{}
	if n.Kind == yaml.ScalarNode {
		dirs = append(dirs, p.text(n))
	} else {
		for _, e := range p.list(n) {
			dirs = append(dirs, p.text(e))
		}
	}
	p.cfg.Archiving.Defaults = dirs
}

// queue reads where results wait, and how many.
func (p *parser) queue(n *node) {
	q := &p.cfg.Archiving.Queue
	if n.Kind == yaml.ScalarNode {
		q.Path = p.text(n)
		return
	}
	p.mapping(n, "queue: ", []field{
		{name: "path", read: func(n *node) { q.Path = p.text(n) }},
		{name: "max_size", read: func(n *node) { q.MaxSize = p.octets(n) }},
		{name: "max_age", read: func(n *node) { q.MaxAge = p.days(n) }},
		{name: "full", read: func(n *node) { q.Full = p.option(n, "oldest", "newest") }},
		{name: "keep", read: func(n *node) { q.Keep = p.days(n) }},
	})
}

// units of octets, the longest first.
var units = []struct {
	name  string
	value float64
}{{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"", 1}}

// octets reads a size of at least 1 MB, so that a result or two fit.
func (p *parser) octets(n *node) int64 {
	s := p.text(n)
	for _, u := range units {
		number, is := strings.CutSuffix(s, u.name)
		if !is {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if v *= u.value; err == nil && v >= 1e6 && v <= 1e15 {
			return int64(v)
		}
		break
	}
	if s != "" {
		p.fail(n, "%s: %q: want a size from 1MB to 1000TB", n.key, short(s))
	}
	return 0
}

// days reads a time that may be given in days.
func (p *parser) days(n *node) time.Duration {
	number, isDays := strings.CutSuffix(n.Value, "d")
	if v, err := strconv.ParseFloat(number, 64); isDays && err == nil && v > 0 && v <= 3650 {
		return time.Duration(v * 24 * float64(time.Hour))
	}
	return time.Duration(p.seconds(n, 1) * float64(time.Second))
}
