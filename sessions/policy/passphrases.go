package policy

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// MaxPassphrase is how many octets a pass-phrase may have.
const MaxPassphrase = 1024

// maxPassphraseLines bounds the lines of a pass-phrase file.
const maxPassphraseLines = 1 << 17

// Passphrases is what a pass-phrase file says: who may authenticate, and by
// which pass-phrase. It keeps comments, blank lines and the order of the file.
//
// A line of the file is IDENTITY, blanks, and the octets of the pass-phrase in
// hexadecimal digits; blanks may follow. Blank lines, and those whose first
// character behind any blanks is #, say nothing. An identity is there once: the
// C suite's server refuses a file in which it is there twice, too, while its
// clients and its pfstore take the first.
//
// The zero Passphrases is an empty file. Methods that only read may be called by
// several goroutines at once. No verb of package fmt prints what is secret.
type Passphrases struct {
	lines   []hiddenLine
	users   map[string]int // which of the lines
	exposed error
}

// A passphraseLine is a line of the file without its end.
type passphraseLine struct {
	text       string
	user       string // empty: the line says nothing
	passphrase []byte
}

// A hiddenLine is what package fmt cannot look into, which else prints what is
// in structures that have the store in a field, whatever its methods are.
type hiddenLine func() passphraseLine

func hide(l passphraseLine) hiddenLine { return func() passphraseLine { return l } }

// ParsePassphrases reads a pass-phrase file; name is what errors call it. An
// error is one line, FILE:LINE: what was expected there, and quotes nothing that
// could be a secret. An empty file has no users.
func ParsePassphrases(name string, r io.Reader) (*Passphrases, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: more than %d octets: want a pass-phrase file", name, maxFile)
	}
	p := &Passphrases{users: make(map[string]int)}
	for text := range strings.Lines(string(text)) {
		n := len(p.lines)
		if n == maxPassphraseLines {
			return nil, fmt.Errorf("%s: more than %d lines: want a pass-phrase file", name, n)
		}
		l, err := parsePassphraseLine(strings.TrimSuffix(text, "\n"))
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, n+1, err)
		}
		if l.user != "" {
			if first, twice := p.users[l.user]; twice {
				return nil, fmt.Errorf("%s:%d: identity %q: it is on line %d already, want it once", name, n+1, l.user, first+1)
			}
			p.users[l.user] = n
		}
		p.lines = append(p.lines, hide(l))
	}
	return p, nil
}

// errPassphraseLine quotes neither half of the line: in one that is wrong either
// may be a secret.
var errPassphraseLine = fmt.Errorf("want an identity of at most %d octets, blanks, and a pass-phrase of 1 to %d octets in hexadecimal digits", maxName, MaxPassphrase)

func parsePassphraseLine(text string) (passphraseLine, error) {
	l := passphraseLine{text: text}
	start := strings.TrimLeft(text, blanks)
	if start == "" || start[0] == '#' {
		return l, nil
	}
	if start != text {
		return l, errors.New("want no blanks in front of an identity")
	}
	end := strings.IndexAny(text, blanks)
	if end < 0 || CheckUser(text[:end]) != nil {
		return l, errPassphraseLine
	}
	digits := strings.Trim(text[end:], blanks)
	passphrase, err := hex.DecodeString(digits)
	if err != nil || checkPassphrase(passphrase) != nil {
		return l, errPassphraseLine
	}
	l.user, l.passphrase = text[:end], passphrase
	return l, nil
}

// LoadPassphrases reads the pass-phrase file of that path; see
// [ParsePassphrases] and [Passphrases.Exposed].
func LoadPassphrases(path string) (*Passphrases, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	p, err := ParsePassphrases(path, f)
	if err != nil {
		return nil, err
	}
	// What goes through a pipe has no readers who wait for it.
	if perm := info.Mode().Perm(); info.Mode().IsRegular() && perm&0o027 != 0 {
		p.exposed = fmt.Errorf("%s: mode %#o lets others read or change the pass-phrases, want 0600, or 0640 with a group of their own", path, perm)
	}
	return p, nil
}

// Exposed returns an error that says so if the file was loaded and more than
// its owner could write it, or more than its owner and its group read it.
func (p *Passphrases) Exposed() error { return p.exposed }

// Get returns the pass-phrase of a user, and whether there is one. It is not to
// be changed.
func (p *Passphrases) Get(user string) (passphrase []byte, ok bool) {
	i, ok := p.users[user]
	if !ok {
		return nil, false
	}
	return p.lines[i]().passphrase, true
}

// Has reports whether a user has a pass-phrase.
func (p *Passphrases) Has(user string) bool {
	_, ok := p.users[user]
	return ok
}

// Len returns how many users there are.
func (p *Passphrases) Len() int { return len(p.users) }

// Set gives a user a pass-phrase: on the user's line, or on a new one at the end.
func (p *Passphrases) Set(user string, passphrase []byte) error {
	if err := CheckUser(user); err != nil {
		return fmt.Errorf("identity %.*q: %w", maxName, user, err)
	}
	if err := checkPassphrase(passphrase); err != nil {
		return err
	}
	l := passphraseLine{
		text:       user + "\t" + hex.EncodeToString(passphrase),
		user:       user,
		passphrase: slices.Clone(passphrase),
	}
	if i, ok := p.users[user]; ok {
		p.lines[i] = hide(l)
		return nil
	}
	if len(p.lines) == maxPassphraseLines {
		return fmt.Errorf("identity %q: want at most %d lines in a pass-phrase file", user, maxPassphraseLines)
	}
	if p.users == nil {
		p.users = make(map[string]int)
	}
	p.users[user] = len(p.lines)
	p.lines = append(p.lines, hide(l))
	return nil
}

// Delete removes a user, and reports whether there was one.
func (p *Passphrases) Delete(user string) bool {
	i, ok := p.users[user]
	if !ok {
		return false
	}
	p.lines = slices.Delete(p.lines, i, i+1)
	delete(p.users, user)
	for u, j := range p.users {
		if j > i {
			p.users[u] = j - 1
		}
	}
	return true
}

// WriteTo writes the file: each line as it was read, if it was not set since,
// and a line feed behind it.
func (p *Passphrases) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	for _, l := range p.lines {
		b.WriteString(l().text)
		b.WriteByte('\n')
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

// Format implements [fmt.Formatter]: no verb prints a pass-phrase.
func (p Passphrases) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "%d pass-phrases", len(p.users)) }

// CheckUser returns an error unless name can be a user's: RFC 4656 section 3.1
// has it as at most 80 octets of UTF-8, and a line of a pass-phrase file begins
// with it.
func CheckUser(name string) error {
	switch {
	case name == "":
		return errors.New("want a name")
	case len(name) > maxName:
		return fmt.Errorf("a name of %d octets: want at most %d", len(name), maxName)
	case name[0] == '#':
		return errors.New("want a name without # in front")
	case !printable(name):
		return errors.New("want a name of printable characters in UTF-8, without blanks")
	}
	return nil
}

func checkPassphrase(p []byte) error {
	if len(p) < 1 || len(p) > MaxPassphrase {
		return fmt.Errorf("a pass-phrase of %d octets: want 1 to %d", len(p), MaxPassphrase)
	}
	return nil
}
