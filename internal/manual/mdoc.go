package manual

import (
	"regexp"
	"strings"
)

// maxColumn is where lines of running text end.
const maxColumn = 80

// flagWord is an option within a sentence, with the punctuation behind it.
var flagWord = regexp.MustCompile(`^-(-?[[:alnum:]][[:alnum:]-]*)([.,:;)]*)$`)

// running returns plain text as lines of mdoc: options in their own macro, and
// each sentence on a line of its own, which is how mdoc knows where it ends.
func running(text string) string {
	var b strings.Builder
	column := 0
	end := func() {
		if column > 0 {
			b.WriteByte('\n')
		}
		column = 0
	}
	for word := range strings.FieldsSeq(text) {
		if m := flagWord.FindStringSubmatch(word); m != nil {
			end()
			b.WriteString(".Fl " + m[1])
			for _, mark := range m[2] {
				b.WriteString(" " + string(mark))
			}
			b.WriteByte('\n')
			continue
		}
		if column > 0 && column+1+len(word) > maxColumn {
			end()
		}
		if column > 0 {
			b.WriteByte(' ')
			column++
		}
		escaped := strings.ReplaceAll(word, `\`, `\e`)
		if column == 0 && (escaped[0] == '.' || escaped[0] == '\'') {
			escaped = `\&` + escaped
		}
		b.WriteString(escaped)
		column += len(escaped)
		if strings.HasSuffix(word, ".") || strings.HasSuffix(word, ".)") {
			end()
		}
	}
	end()
	return b.String()
}

// macros returns a form as the arguments of a macro line.
func (f Form) macros() string {
	var s string
	switch name, dash := strings.CutPrefix(f.Name, "-"); {
	case dash:
		s = "Fl " + name
	default:
		s = "Cm " + name
	}
	switch {
	case f.Argument == "":
		return s
	case f.Optional:
		return s + " Ns Op Ar " + f.Argument
	}
	return s + " Ar " + f.Argument
}

// forms returns all forms of an option as the arguments of a macro line, with
// mark between them.
func (o Option) forms(mark string) string {
	var all []string
	for _, f := range o.Forms {
		all = append(all, f.macros())
	}
	return strings.Join(all, mark)
}

// synopsis returns the options for the synopsis: flags of one letter bundled,
// then all others.
func (u *Usage) synopsis() string {
	var letters, rest strings.Builder
	for _, o := range u.Options() {
		switch f := o.Forms[0]; {
		case f.Name[0] != '-': // a command
		case len(o.Forms) == 1 && len(f.Name) == 2 && f.Argument == "":
			letters.WriteString(f.Name[1:])
		case strings.HasSuffix(o.Text, "(required)"):
			rest.WriteString("." + o.forms(" | ") + "\n")
		default:
			rest.WriteString(".Op " + o.forms(" | ") + "\n")
		}
	}
	if letters.Len() == 0 {
		return rest.String()
	}
	return ".Op Fl " + letters.String() + "\n" + rest.String()
}

// about returns the paragraph about the program.
func (u *Usage) about() string {
	if u.About == "" {
		return ""
	}
	return ".Nm\n" + running(strings.TrimPrefix(u.About, u.Program+" "))
}
