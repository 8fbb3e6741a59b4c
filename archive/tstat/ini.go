package tstat

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
)

// maxConfig bounds a config file, in octets.
const maxConfig = 1 << 20

// defaultStanza is the one whose keys all others have as well.
const defaultStanza = "DEFAULT"

// A Config is a file as Python's ConfigParser reads it: stanzas with keys, which
// are in lower case.
//
// A value ${NAME} or ${NAME:OTHERWISE} is what the environment has; it is asked
// for when the value is.
type Config struct {
	stanzas map[string]map[string]string
	getenv  func(name string) (value string, ok bool)
}

// An iniReader has read some lines of a file.
type iniReader struct {
	stanzas map[string]map[string]string
	stanza  map[string]string // the last; nil: none yet
	seen    map[string]bool   // its keys
	key     string            // the last; empty: none yet
	indent  int               // of its line
	value   []string          // of the key, line by line
}

// ReadConfig reads a config file as [ParseConfig] does. The error names the file.
func ReadConfig(path string, getenv func(name string) (value string, ok bool)) (*Config, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, fmt.Errorf("config %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("config %w", err)
	}
	c, err := ParseConfig(string(text), getenv)
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", path, err)
	}
	return c, nil
}

// ParseConfig reads the text of a config file. The error is in one line, with the
// number of the one that is wrong, and tells no value.
func ParseConfig(text string, getenv func(name string) (value string, ok bool)) (*Config, error) {
	if len(text) > maxConfig {
		return nil, fmt.Errorf("want at most %d octets", maxConfig)
	}
	r := &iniReader{stanzas: make(map[string]map[string]string)}
	number := 0
	for line := range strings.Lines(text) {
		number++
		if err := r.read(strings.TrimRight(line, "\r\n")); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	r.settle()
	return &Config{r.stanzas, getenv}, nil
}

// read reads a line without its end.
func (r *iniReader) read(line string) error {
	value := strings.TrimSpace(line)
	switch {
	case value == "":
		if r.key != "" {
			r.value = append(r.value, "")
		}
		return nil
	case value[0] == '#' || value[0] == ';':
		return nil
	}
	indent := strings.IndexFunc(line, func(c rune) bool { return !unicode.IsSpace(c) })
	if r.key != "" && indent > r.indent {
		r.value = append(r.value, value)
		return nil
	}
	r.settle()
	r.indent = indent
	if end := strings.LastIndexByte(value, ']'); value[0] == '[' && end > 1 {
		return r.open(value[1:end])
	}
	if r.stanza == nil {
		return errors.New("want a stanza such as [rabbit] before the first key")
	}
	at := strings.IndexAny(value, "=:")
	if at < 0 {
		return errors.New("want KEY = VALUE, or an indented line that continues one")
	}
	key := strings.ToLower(strings.TrimSpace(value[:at]))
	switch {
	case key == "":
		return errors.New("want a key before the " + value[at:at+1])
	case r.seen[key]:
		return fmt.Errorf("the key %s is there twice in its stanza", key)
	}
	r.seen[key], r.key, r.value = true, key, []string{strings.TrimSpace(value[at+1:])}
	return nil
}

// open begins a stanza.
func (r *iniReader) open(name string) error {
	if _, twice := r.stanzas[name]; twice && name != defaultStanza {
		return fmt.Errorf("the stanza [%s] is there twice", name)
	}
	if r.stanzas[name] == nil {
		r.stanzas[name] = make(map[string]string)
	}
	r.stanza, r.seen = r.stanzas[name], make(map[string]bool)
	return nil
}

// settle ends the value of the last key.
func (r *iniReader) settle() {
	if r.key != "" {
		r.stanza[r.key] = strings.TrimRightFunc(strings.Join(r.value, "\n"), unicode.IsSpace)
		r.key = ""
	}
}

// Has reports whether there is a stanza.
func (c *Config) Has(stanza string) bool {
	_, ok := c.stanzas[stanza]
	return ok && stanza != defaultStanza
}

// own returns the keys that a stanza has itself, sorted.
func (c *Config) own(stanza string) []string {
	var keys []string
	for key := range c.stanzas[stanza] {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// keys returns the keys of a stanza, with those of the default, sorted.
func (c *Config) keys(stanza string) []string {
	keys := append(c.own(stanza), c.own(defaultStanza)...)
	slices.Sort(keys)
	return slices.Compact(keys)
}

// value returns what a key is in a stanza, or else in the default, with what the
// environment has.
func (c *Config) value(stanza, key string) (value string, ok bool, err error) {
	if value, ok = c.stanzas[stanza][key]; !ok {
		if value, ok = c.stanzas[defaultStanza][key]; !ok {
			return "", false, nil
		}
	}
	inside, isVariable := strings.CutPrefix(value, "${")
	if !isVariable {
		return value, true, nil
	}
	inside, closed := strings.CutSuffix(inside, "}")
	name, otherwise, hasOther := strings.Cut(inside, ":")
	if !closed || name == "" {
		return "", false, fmt.Errorf("[%s] %s: want ${NAME} or ${NAME:OTHERWISE}", stanza, key)
	}
	if set, ok := c.getenv(name); ok {
		return set, true, nil
	}
	if !hasOther {
		return "", false, fmt.Errorf("[%s] %s: the environment has no %s, and there is no other value", stanza, key, name)
	}
	return otherwise, true, nil
}
