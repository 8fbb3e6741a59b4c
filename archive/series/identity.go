package series

import (
	"cmp"
	"crypto/sha256"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Identify sets the identity of metadata from all that they are, but not from
// their key: that of a registration with the addresses in their usual form, and
// with the windows of summaries as numbers. So metadata that another archive has
// given have the identity that those have who register them again.
//
// The identity is the SHA-256 of a text, which is esmond's: subject-type::, the
// type; then for each field of the subject a comma, its name, ::, and its value;
// for each parameter, by name, the same; and for each series, by name, and each
// summary, by type and window, a comma and the event type, the summary's type and
// its window, with :: between them. Each series has the summary base, too, with
// window 0. All is lower-case. So neither case nor order makes a difference, nor
// does whether a parameter was a number or a text; but 30 is not 30.0, and an
// address written in another way is another one.
func (m *Metadata) Identify() { m.Identity = m.identity(nil, nil) }

// identity is Identify with addresses as they were written, and with windows in
// the order of texts where they were texts.
func (m *Metadata) identity(sent map[string]string, written map[windowsOf]windows) [32]byte {
	return sha256.Sum256([]byte(m.canonical(sent, written)))
}

// canonical returns the text that an identity is made of.
func (m *Metadata) canonical(sent map[string]string, written map[windowsOf]windows) string {
	var b strings.Builder
	part := func(name, value string) {
		b.WriteString(",")
		b.WriteString(name)
		b.WriteString("::")
		b.WriteString(value)
	}
	b.WriteString("subject-type::" + m.SubjectType)
	for i := range fields {
		f := &fields[i]
		if f.pair && m.SubjectType != PointToPoint {
			continue
		}
		name := strings.ReplaceAll(f.name, "-", "_")
		switch text, ok := sent[f.name]; {
		case ok:
			part(name, text)
		case f.addr != nil:
			part(name, f.addr(m).String())
		default:
			part(name, *f.text(m))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Parameters)) {
		part(name, m.Parameters[name])
	}
	for _, e := range m.Events {
		all := append(slices.Clone(e.Summaries), Summary{Type: Base})
		slices.SortFunc(all, func(a, b Summary) int {
			window := cmp.Compare(a.Window, b.Window)
			if written[windowsOf{e.Type, a.Type}] == asTexts {
				window = strings.Compare(strconv.FormatInt(a.Window, 10), strconv.FormatInt(b.Window, 10))
			}
			return cmp.Or(strings.Compare(a.Type.String(), b.Type.String()), window)
		})
		for _, s := range all {
			part(string(e.Type)+"::"+s.Type.String(), strconv.FormatInt(s.Window, 10))
		}
	}
	return strings.ToLower(b.String())
}
