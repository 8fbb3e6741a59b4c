package policy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a limits file. Lists of nets with tens of thousands of lines are in
// use.
const (
	maxFile    = 16 << 20 // octets
	maxLine    = 16 << 10 // octets, with the lines that continue it
	maxClasses = 1024
	maxDepth   = 32 // of the tree, whose paths name directories
	maxAssigns = 1 << 18
	maxName    = 80 // octets of a class or a user; a user's is bounded by RFC 4656 section 3.1
)

// Parse reads a limits file; name is what errors call it. An error is one line,
// FILE:LINE: what was found there and what was expected. A file that defines no
// class gives the same limits as no file, see [Unlimited].
func Parse(name string, r io.Reader) (*Limits, error) {
	p := parser{Limits: newLimits(name)}
	limited := &io.LimitedReader{R: r, N: maxFile + 1}
	in := bufio.NewScanner(limited)
	in.Buffer(nil, maxLine)
	var l line
	for in.Scan() {
		if limited.N == 0 {
			break // what was read last may be half a line
		}
		p.lines++
		text := in.Text()
		if strings.Trim(l.text, blanks) == "" {
			if text = strings.TrimLeft(text, blanks); text == "" || text[0] == '#' {
				continue
			}
			l = line{first: p.lines}
		}
		text, more := strings.CutSuffix(text, `\`)
		if strings.Contains(text, `\`) {
			return nil, p.errorf(p.lines, `\: want it only as the last character of a line`)
		}
		l.starts = append(l.starts, len(l.text))
		if l.text += text; len(l.text) > maxLine {
			return nil, p.tooLong(l.first)
		}
		if more {
			continue
		}
		if err := p.parse(&l); err != nil {
			return nil, err
		}
		l = line{}
	}
	switch err := in.Err(); {
	case limited.N == 0:
		return nil, fmt.Errorf("%s: more than %d octets: want a limits file", name, maxFile)
	case errors.Is(err, bufio.ErrTooLong):
		return nil, p.tooLong(p.lines + 1)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := p.parse(&l); err != nil {
		return nil, err
	}
	if len(p.classes) == 0 {
		p.add(Unlimited().Root())
	}
	return p.Limits, nil
}

// A parser fills the Limits.
type parser struct {
	*Limits
	lines int // read so far
}

func (p *parser) errorf(line int, format string, args ...any) error {
	return fmt.Errorf("%s:%d: "+format, append([]any{p.file, line}, args...)...)
}

func (p *parser) tooLong(line int) error {
	return p.errorf(line, "a line of more than %d octets: want a shorter one", maxLine)
}

// blanks separate words. The C suite knows no others.
const blanks = " \t\v\f\r"

// A line is a line of the file, joined with those that continue it.
type line struct {
	text   string
	first  int   // the number of the first of them
	starts []int // where in text each of them begins
	pos    int   // where in text reading goes on
}

// number returns the number of the line that the octet at pos of text is on.
func (l *line) number(pos int) int {
	i, _ := slices.BinarySearch(l.starts, pos+1)
	return l.first + i - 1
}

// word returns the next word and the number of its line; "" at the end.
func (l *line) word() (string, int) {
	rest := strings.TrimLeft(l.text[l.pos:], blanks)
	start := len(l.text) - len(rest)
	if end := strings.IndexAny(rest, blanks); end >= 0 {
		rest = rest[:end]
	}
	l.pos = start + len(rest)
	return rest, l.number(start)
}

// item returns what is left before the next comma or the end, without blanks
// around, and the number of its line; ok is false at the end.
func (l *line) item() (item string, n int, ok bool) {
	if l.pos >= len(l.text) {
		return "", 0, false
	}
	item, _, _ = strings.Cut(l.text[l.pos:], ",")
	start := l.pos
	l.pos += len(item) + 1
	trimmed := strings.TrimLeft(item, blanks)
	start += len(item) - len(trimmed)
	return strings.TrimRight(trimmed, blanks), l.number(min(start, len(l.text)-1)), true
}

func (p *parser) parse(l *line) error {
	switch word, n := l.word(); strings.ToLower(word) {
	case "":
		return nil // the end of the file
	case "limit":
		return p.limit(l)
	case "assign":
		return p.assignment(l)
	default:
		return p.errorf(n, "%.40q: want limit or assign", word)
	}
}

// limit reads a limit line after its first word.
func (p *parser) limit(l *line) error {
	name, n := l.word()
	if err := p.checkNew(name); err != nil {
		return p.errorf(n, "class %.*q: %w", maxName, name, err)
	}
	if with, n := l.word(); !strings.EqualFold(with, "with") {
		return p.errorf(n, "%.40q after class %s: want with", with, name)
	}
	// The parent may come after other keys, so values are set in the end.
	c := &Class{name: name}
	type setting struct {
		key  *key
		text string
		line int
	}
	var set []setting
	for item, n, ok := l.item(); ok; item, n, ok = l.item() {
		if item == "" {
			continue
		}
		name, text, _ := strings.Cut(item, "=")
		name, text = strings.TrimRight(name, blanks), strings.TrimLeft(text, blanks)
		if strings.EqualFold(name, "parent") {
			if err := p.setParent(c, text); err != nil {
				return p.errorf(n, "parent %.*q: %w", maxName, text, err)
			}
			continue
		}
		k := keyOf(name)
		if k == nil {
			return p.errorf(n, "%.40q: want KEY=VALUE, KEY one of %s", item, keyNames())
		}
		for _, s := range set {
			if s.key == k {
				return p.errorf(n, "%s: set on line %d already: want it once", k.name, s.line)
			}
		}
		set = append(set, setting{k, text, n})
	}
	switch {
	case len(p.classes) == 0:
		c.settings = defaults
	case c.parent == nil:
		return p.errorf(n, "class %s: want parent=CLASS: only the first class has none", name)
	default:
		c.settings = c.parent.inherited()
	}
	for _, s := range set {
		if s.key.rootOnly && c.parent != nil {
			return p.errorf(s.line, "%s of class %s: want it of the root, class %s", s.key.name, name, p.Root().name)
		}
		if err := s.key.value(&c.settings).UnmarshalText([]byte(s.text)); err != nil {
			return p.errorf(s.line, "%s %.40q: %w", s.key.name, s.text, err)
		}
	}
	p.add(c)
	return nil
}

// checkNew returns an error unless name can be the name of one more class.
func (p *parser) checkNew(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if _, taken := p.byName[name]; taken {
		return errors.New("defined already: want another name")
	}
	if len(p.classes) == maxClasses {
		return fmt.Errorf("want at most %d classes", maxClasses)
	}
	return nil
}

// checkName returns an error unless name can be the name of a class, and of its
// directory.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("want a name")
	case len(name) > maxName:
		return fmt.Errorf("a name of %d octets: want at most %d", len(name), maxName)
	case name[0] == '.' || strings.ContainsAny(name, "/,="):
		return errors.New("want a name without / , = and not with a dot in front")
	case !printable(name):
		return errors.New("want a name of printable characters in UTF-8")
	}
	return nil
}

// printable reports whether name can be printed as it is, as one word.
func printable(name string) bool {
	return utf8.ValidString(name) && !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) })
}

// setParent makes the class of that name the parent of c.
func (p *parser) setParent(c *Class, name string) error {
	if len(p.classes) == 0 {
		return errors.New("want none: the first class is the root")
	}
	if c.parent != nil {
		return fmt.Errorf("want one parent, which is %s", c.parent.name)
	}
	parent := p.byName[name]
	if parent == nil {
		return errUndefined
	}
	depth := 1
	for above := parent; above != nil; above = above.parent {
		depth++
	}
	if depth > maxDepth {
		return fmt.Errorf("want at most %d classes from the root down", maxDepth)
	}
	c.parent = parent
	return nil
}

var errUndefined = errors.New("want a class that is defined above")

// assignment reads an assign line after its first word.
func (p *parser) assignment(l *line) error {
	kind, at := l.word()
	a := assignment{line: at}
	var err error
	switch strings.ToLower(kind) {
	case "default":
	case "net":
		net, n := l.word()
		if a.net, err = parseNet(net); err != nil {
			return p.errorf(n, "net %.60q: %w", net, err)
		}
	case "user":
		var n int
		if a.user, n = l.word(); a.user == "" || len(a.user) > maxName {
			return p.errorf(n, "user %.*q: want a name of 1 to %d octets", maxName, a.user, maxName)
		}
	default:
		return p.errorf(at, "assign %.40q: want default, net or user", kind)
	}
	class, n := l.word()
	if a.class = p.byName[class]; a.class == nil {
		return p.errorf(n, "class %.*q: %w", maxName, class, errUndefined)
	}
	if more, n := l.word(); more != "" {
		return p.errorf(n, "%.40q after class %s: want the end of the line", more, class)
	}
	if before := p.assigned(a); before != nil {
		if before != a.class {
			return p.errorf(at, "assigned to class %s already: want one class", before.name)
		}
		return nil
	}
	if len(p.assigns) == maxAssigns {
		return p.errorf(at, "want at most %d assign lines", maxAssigns)
	}
	p.assign(a)
	return nil
}

// assigned returns the class that has been assigned to whom a assigns one, nil
// if none has.
func (p *parser) assigned(a assignment) *Class {
	switch {
	case a.user != "":
		return p.users[a.user]
	case a.net.IsValid():
		return p.nets[a.net]
	}
	return p.fallback
}

// parseNet reads ADDRESS[/LENGTH]; mapped IPv4 addresses become IPv4.
func parseNet(s string) (netip.Prefix, error) {
	var net netip.Prefix
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		net = netip.PrefixFrom(addr, addr.BitLen())
	} else if net, err = netip.ParsePrefix(s); err != nil {
		return net, errors.New("want ADDRESS or ADDRESS/LENGTH")
	}
	const mapped = 96 // bits in front of an IPv4 address that is mapped
	if net.Addr().Is4In6() && net.Bits() >= mapped {
		net = netip.PrefixFrom(net.Addr().Unmap(), net.Bits()-mapped)
	}
	switch {
	case net.Bits() == 0:
		return net, errors.New("want a length of 1 or more; all addresses are: assign default")
	case net != net.Masked():
		return net, fmt.Errorf("want zero bits after the first %d, as in %v", net.Bits(), net.Masked())
	}
	return net, nil
}

// keyOf returns the key of that name in either case, nil if there is none.
func keyOf(name string) *key {
	for i := range keys {
		if strings.EqualFold(name, keys[i].name) {
			return &keys[i]
		}
	}
	return nil
}

func keyNames() string {
	names := []string{"parent"}
	for _, k := range keys {
		names = append(names, k.name)
	}
	return strings.Join(names, ", ")
}
