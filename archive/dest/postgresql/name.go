package postgresql

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// maxName is how long a name may be, in octets; the server would cut it.
const maxName = 63

// part is one part of a name: as it is, or quoted.
var part = regexp.MustCompile(`^(?:[A-Za-z_][A-Za-z0-9_$]*|"(?:[^"\x00]|"")+")`)

// errName says what a name is.
var errName = errors.New(`want letters, digits, _ and $, a letter or _ first, or any text in double quotes`)

// quoted returns a name that may have so many parts, with dots between them, as
// SQL has it for certain. As in SQL, capital letters are small ones where there
// are no quotes.
func quoted(name string, parts int) (string, error) {
	var all []string
	for rest, more := name, true; more; {
		p := part.FindString(rest)
		if p == "" || len(all) == parts {
			break
		}
		text := strings.ToLower(p)
		if p[0] == '"' {
			text = strings.ReplaceAll(p[1:len(p)-1], `""`, `"`)
		}
		if len(text) > maxName {
			return "", fmt.Errorf("%q: want at most %d octets", text, maxName)
		}
		all = append(all, `"`+strings.ReplaceAll(text, `"`, `""`)+`"`)
		if rest = rest[len(p):]; rest == "" {
			return strings.Join(all, "."), nil
		}
		rest, more = strings.CutPrefix(rest, ".")
	}
	if parts > 1 {
		return "", fmt.Errorf("%q: %w, and at most %d of these, with a dot between", name, errName, parts)
	}
	return "", fmt.Errorf("%q: %w", name, errName)
}
