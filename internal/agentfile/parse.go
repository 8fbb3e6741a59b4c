package agentfile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A parser reads a file, and goes on after what is wrong.
type parser struct {
	file   string
	cfg    *Config
	errs   []lineError
	failed int            // how many errors there are; not all of them are in errs
	lines  map[Key]int    // of streams
	dirs   map[string]int // the lines of streams by the directories of their files
}

// yamlMapping is what all of the file is made of.
const yamlMapping = yaml.MappingNode

// A node is a value of the file, with the key that it has.
type node struct {
	*yaml.Node
	key string
}

// has reports whether a mapping has a key.
func (n *node) has(key string) bool {
	for i := 0; n.Kind == yamlMapping && i < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return true
		}
	}
	return false
}

// A field is a key that a mapping may have, and what reads its value.
type field struct {
	name string
	read func(*node)
}

// fail notes what is wrong at n.
func (p *parser) fail(n *node, format string, args ...any) { p.failAt(n.Line, format, args...) }

func (p *parser) failAt(line int, format string, args ...any) {
	if p.failed++; len(p.errs) < maxErrors {
		p.errs = append(p.errs, lineError{line, fmt.Errorf("%s:%d: %w", p.file, line, fmt.Errorf(format, args...))})
	}
}

// A lineError is what is wrong in a line.
type lineError struct {
	line int
	err  error
}

// err joins the errors in the order of their lines.
func (p *parser) err() error {
	slices.SortStableFunc(p.errs, func(a, b lineError) int { return cmp.Compare(a.line, b.line) })
	var all []error
	for _, e := range p.errs {
		all = append(all, e.err)
	}
	if more := p.failed - len(p.errs); more > 0 {
		all = append(all, fmt.Errorf("%s: %d more errors", p.file, more))
	}
	return errors.Join(all...)
}

// yamlLine is how the YAML library begins its errors.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// document reads YAML, and returns the mapping that it is to be; nil: it is
// none.
func (p *parser) document(text []byte) *node {
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(text))
	err := dec.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF):
		p.failAt(1, "the file is empty: want streams, groups, a server or an archive")
		return nil
	case err != nil:
		p.syntax(err)
		return nil
	}
	var second yaml.Node
	switch err := dec.Decode(&second); {
	case err == nil:
		p.failAt(second.Line, "a second document: want one")
		return nil
	case !errors.Is(err, io.EOF):
		p.syntax(err)
		return nil
	}
	return &node{Node: doc.Content[0]}
}

// syntax notes that the file is no YAML. Of some errors the library tells the
// line before the one that they are in.
func (p *parser) syntax(err error) {
	line := 1
	text := err.Error()
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		text = text[len(m[0]):]
		_, _ = fmt.Sscan(m[1], &line) // without one it is the first
	}
	p.failAt(line, "no YAML, here or in the next line: %s", text)
}

// plain reports whether n is what YAML has without anchors.
func (p *parser) plain(n *node) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		p.fail(n, "*%s: want no aliases: what streams have in common goes into defaults", n.Value)
	case n.Anchor != "":
		p.fail(n, "&%s: want no anchors: what streams have in common goes into defaults", n.Anchor)
	default:
		return true
	}
	return false
}

// mapping reads the mapping n; its errors begin with what. The fields are read in their own
// order, for some need others.
func (p *parser) mapping(n *node, what string, fields []field) {
	values := p.entries(n, what)
	for i := range values {
		v := &values[i]
		if !slices.ContainsFunc(fields, func(f field) bool { return f.name == v.key }) {
			p.fail(v, "%sunknown key %q: want %s", what, short(v.key), expected(v.key, fields))
		}
	}
	for _, f := range fields {
		for i := range values {
			if v := &values[i]; v.key == f.name {
				f.read(v)
			}
		}
	}
}

// entries returns the values of the mapping n, none twice; see [parser.mapping].
func (p *parser) entries(n *node, what string) []node {
	if !p.plain(n) {
		return nil
	}
	if n.Kind != yamlMapping {
		p.fail(n, "%swant keys with values, not %s", what, kind(n))
		return nil
	}
	values := make([]node, 0, len(n.Content)/2)
	lines := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := &node{Node: n.Content[i]}
		if !p.plain(key) {
			continue
		}
		if key.Kind != yaml.ScalarNode || key.Value == "" {
			p.fail(key, "%swant a word as a key, not %s", what, kind(key))
			continue
		}
		if line, twice := lines[key.Value]; twice {
			p.fail(key, "%s%s: want it once, it is in line %d already", what, short(key.Value), line)
			continue
		}
		lines[key.Value] = key.Line
		values = append(values, node{Node: n.Content[i+1], key: key.Value})
	}
	return values
}

// list returns the elements of the list n.
func (p *parser) list(n *node) []*node {
	if !p.plain(n) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		p.fail(n, "%s: want a list, not %s", n.key, kind(n))
		return nil
	}
	all := make([]*node, len(n.Content))
	for i, e := range n.Content {
		all[i] = &node{Node: e, key: n.key}
	}
	return all
}

// kind says what n is.
func kind(n *node) string {
	switch {
	case n.Kind == yamlMapping:
		return "keys with values"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "nothing"
	}
	return fmt.Sprintf("%q", short(n.Value))
}

// short returns s as an error shows it.
func short(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// expected says what is wanted instead of key: the one of fields that is meant,
// or any of them.
func expected(key string, fields []field) string {
	var names []string
	for _, f := range fields {
		if len(key) <= 2*len(f.name) && distance(strings.ToLower(key), f.name) <= 2 {
			return f.name
		}
		names = append(names, f.name)
	}
	return "one of " + strings.Join(names, ", ")
}

// distance returns how many octets are to be inserted, deleted or replaced to
// make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
