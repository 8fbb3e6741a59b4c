package manual

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/template"
)

// An Item is one thing of a list that a page tells of.
type Item struct {
	Name string // what the source has a definition for
	Term string // how it is written: the arguments of a line of macros
	Text string // plain text, may be empty
}

// Facts are what pages are made from beside their sources.
type Facts struct {
	Date  string            // of all pages, as mdoc(7) has it: November 21, 2026
	Usage map[string]*Usage // by the program's name
	Lists map[string][]Item // by the name that sources call them
}

// Page makes the page of a name such as "owping.1" from its source. What that
// does not define itself is taken from the definitions in common. An error
// names the page, and what is wrong with the source, asked for and not there,
// or defined and not asked for.
func (f *Facts) Page(name, source, common string) ([]byte, error) {
	text, err := f.page(name, source, common)
	if err != nil {
		return nil, fmt.Errorf("page %s: %w", name, err)
	}
	return text, nil
}

func (f *Facts) page(name, source, common string) ([]byte, error) {
	dot := strings.LastIndexByte(name, '.')
	if dot < 1 {
		return nil, errors.New("want a name, a dot and a section")
	}
	title, section := name[:dot], name[dot+1:]
	p := &page{templates: template.New(name), used: make(map[string]bool)}
	p.templates.Funcs(template.FuncMap{
		"list": func(name string) (string, error) { return p.list(f.Lists[name]) },
	})
	if u := f.Usage[title]; u != nil {
		p.templates.Funcs(template.FuncMap{
			"synopsis": u.synopsis,
			"about":    u.about,
			"options":  func() (string, error) { return p.options(u) },
		})
	}
	if _, err := p.templates.New("common").Parse(common); err != nil {
		return nil, err
	}
	shared := p.templates.Templates()
	if _, err := p.templates.Parse(source); err != nil {
		return nil, err
	}
	var body bytes.Buffer
	if err := p.templates.Execute(&body, nil); err != nil {
		return nil, err
	}
	for _, t := range p.templates.Templates() {
		if t.Name() != name && !p.used[t.Name()] && !slices.Contains(shared, t) {
			return nil, fmt.Errorf("it defines %q, which is none of its options or items", t.Name())
		}
	}
	head := fmt.Sprintf(`.\" Made by "make man" from packaging/man/source/%s, which is what to edit.`+"\n"+
		".Dd %s\n.Dt %s %s\n.Os Owl\n", name, f.Date, strings.ToUpper(title), section)
	return append([]byte(head), tidy(body.String())...), nil
}

// A page is being made.
type page struct {
	templates *template.Template
	used      map[string]bool // the definitions
}

// options returns the options of a program under their titles.
func (p *page) options(u *Usage) (string, error) {
	var b strings.Builder
	for _, g := range u.Groups {
		if g.Title != "" {
			b.WriteString(".Ss " + g.Title + "\n")
		}
		var items []Item
		for _, o := range g.Options {
			items = append(items, Item{Name: o.Forms[0].Name, Term: o.forms(" , "), Text: o.Text})
		}
		list, err := p.list(items)
		if err != nil {
			return "", err
		}
		b.WriteString(list)
		if g.Text != "" {
			b.WriteString(".Pp\n" + running(g.Text))
		}
	}
	return b.String(), nil
}

// list returns items as terms, each with its text and what is defined for it.
// There must be one of them.
func (p *page) list(items []Item) (string, error) {
	if len(items) == 0 {
		return "", errors.New("want a list that there is")
	}
	var b strings.Builder
	b.WriteString(".Bl -tag -width Ds\n")
	for _, i := range items {
		b.WriteString(".It " + i.Term + "\n" + running(i.Text))
		more := p.templates.Lookup(i.Name)
		if more == nil {
			if i.Text == "" {
				return "", fmt.Errorf("want a definition of %q", i.Name)
			}
			continue
		}
		p.used[i.Name] = true
		if i.Text != "" {
			b.WriteString(".Pp\n")
		}
		if err := more.Execute(&b, nil); err != nil {
			return "", err
		}
		b.WriteByte('\n')
	}
	b.WriteString(".El\n")
	return b.String(), nil
}

// tidy removes blank lines, which have no place in mdoc but in literal displays.
func tidy(s string) string {
	var b strings.Builder
	literal := false
	for line := range strings.Lines(s) {
		switch {
		case strings.HasPrefix(line, ".Bd "):
			literal = true
		case strings.HasPrefix(line, ".Ed"):
			literal = false
		}
		if literal || strings.TrimSpace(line) != "" {
			b.WriteString(strings.TrimSuffix(line, "\n") + "\n")
		}
	}
	return b.String()
}
