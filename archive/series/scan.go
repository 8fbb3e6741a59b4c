package series

import (
	"encoding/json"
	"unicode/utf8"
)

// A scanner reads JSON from its beginning to its end, and knows the order of an
// object's members, which [encoding/json] does not tell but of tokens. Whatever
// is no JSON it notes, and then reads nothing any more.
type scanner struct {
	text  []byte
	at    int
	depth int
	err   error
}

// fail notes what is wrong.
func (s *scanner) fail(format string, args ...any) {
	if s.err == nil {
		s.err = invalid("JSON parse error - "+format, args...)
	}
}

// syntax notes that something else was expected.
func (s *scanner) syntax(want string) { s.fail("octet %d: want %s", s.at+1, want) }

// peek returns the first octet of what comes next; 0: nothing does.
func (s *scanner) peek() byte {
	for s.err == nil && s.at < len(s.text) {
		switch c := s.text[s.at]; c {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return c
		}
	}
	return 0
}

// end notes if there is more.
func (s *scanner) end() error {
	if c := s.peek(); c != 0 || s.at < len(s.text) {
		s.syntax("the end")
	}
	return s.err
}

// take reads the octet c if it comes next.
func (s *scanner) take(c byte) bool {
	if s.peek() != c || s.err != nil {
		return false
	}
	s.at++
	return true
}

// object reads an object, and calls member for each of its members, which is to
// read the value.
func (s *scanner) object(member func(name string)) {
	s.nest('{', '}', func() {
		name := s.string()
		if !s.take(':') {
			s.syntax("a colon")
		}
		if s.err == nil {
			member(name)
		}
	})
}

// array reads a list, and calls element for each of its elements, which is to
// read it.
func (s *scanner) array(element func()) { s.nest('[', ']', element) }

// nest reads what is between two brackets, with commas between.
func (s *scanner) nest(open, shut byte, each func()) {
	if !s.take(open) {
		s.syntax("a " + string(open))
		return
	}
	if s.depth++; s.depth > MaxDepth {
		s.fail("more than %d levels", MaxDepth)
	}
	defer func() { s.depth-- }()
	if s.take(shut) {
		return
	}
	for s.err == nil {
		if each(); s.take(shut) {
			return
		}
		if !s.take(',') {
			s.syntax("a comma or a " + string(shut))
		}
	}
}

// raw reads any value, and returns its text.
func (s *scanner) raw() []byte {
	c := s.peek()
	from := s.at
	switch c {
	case '{':
		s.nest('{', '}', s.skipMember)
	case '[':
		s.array(func() { s.raw() })
	case '"':
		s.skipString()
	default:
		s.word()
	}
	if s.err != nil {
		return nil
	}
	return s.text[from:s.at]
}

// skipMember passes by a member of an object.
func (s *scanner) skipMember() {
	s.skipString()
	if !s.take(':') {
		s.syntax("a colon")
	}
	if s.err == nil {
		s.raw()
	}
}

// word reads a number, true, false or null.
func (s *scanner) word() {
	from, plain := s.at, true
	for s.at < len(s.text) && wordOctet(s.text[s.at]) {
		plain = plain && s.text[s.at] <= '9' && s.text[s.at] >= '0'
		s.at++
	}
	if s.err != nil || plain && s.at > from && s.text[from] != '0' {
		return // an integer, as nearly all are
	}
	// Numbers have a grammar of their own: the library knows it.
	if !json.Valid(s.text[from:s.at]) {
		s.at = from
		s.syntax("a value")
	}
}

func wordOctet(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || c == 'E' || c == '+' || c == '-' || c == '.'
}

// skipString passes by a string.
func (s *scanner) skipString() (plain bool) {
	if !s.take('"') {
		s.syntax("a string")
		return false
	}
	from, plain := s.at-1, true
	for s.at < len(s.text) {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			// Escapes and letters have a grammar of their own, too.
			if text := s.text[from:s.at]; !plain && (!json.Valid(text) || !utf8.Valid(text)) {
				s.at = from
				s.syntax("a string in UTF-8")
			}
			return plain
		case c == '\\':
			plain = false
			s.at++
		case c < ' ':
			s.syntax("a character that is no control character")
			return false
		case c >= utf8.RuneSelf:
			plain = false
		}
		s.at++
	}
	s.at = len(s.text)
	s.syntax("the end of a string")
	return false
}

// string reads a string.
func (s *scanner) string() string {
	s.peek()
	from := s.at
	plain := s.skipString()
	if s.err != nil {
		return ""
	}
	if plain {
		return string(s.text[from+1 : s.at-1])
	}
	var v string
	if err := json.Unmarshal(s.text[from:s.at], &v); err != nil {
		s.fail("%v", err)
	}
	return v
}
