package tstat

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
)

// A stanza is one of a config, which is being read. What is wrong it notes.
type stanza struct {
	config    *Config
	name      string
	transport string // that it is for
	asked     []string
	errs      []error
}

func (c *Config) stanza(name, transport string) *stanza {
	return &stanza{config: c, name: name, transport: transport}
}

func (s *stanza) fail(key, format string, args ...any) {
	s.errs = append(s.errs, fmt.Errorf("[%s] %s: %s", s.name, key, fmt.Sprintf(format, args...)))
}

// text returns a value, and whether there is one.
func (s *stanza) text(key string) (string, bool) {
	s.asked = append(s.asked, key)
	v, ok, err := s.config.value(s.name, key)
	if err != nil {
		s.errs = append(s.errs, err)
	}
	return v, ok
}

// need returns a value that must be there.
func (s *stanza) need(key string) string {
	v, ok := s.text(key)
	if !ok && len(s.errs) == 0 {
		s.errs = append(s.errs, fmt.Errorf("[%s] is a required config value for transport [%s]", key, s.transport))
	}
	return v
}

// short is need of what AMQP bounds (0-9-1, section 4.2.5.3).
func (s *stanza) short(key string) string {
	v := s.need(key)
	if len(v) > 255 {
		s.fail(key, "%d octets: want at most 255", len(v))
	}
	return v
}

// number returns a whole number from least to most.
func (s *stanza) number(key, v string, least, most int) int {
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > most {
		s.fail(key, "%q is not a valid integer: want one from %d to %d", v, least, most)
	}
	return n
}

// truth returns what Python's configparser takes for a boolean.
func (s *stanza) truth(key, v string) bool {
	switch strings.ToLower(v) {
	case "1", "yes", "true", "on":
		return true
	case "0", "no", "false", "off":
		return false
	}
	s.fail(key, "%q is not a valid boolean: want yes or no", v)
	return false
}

// flag is truth of a key that need not be there, or be empty, which is no.
func (s *stanza) flag(key string) bool {
	v, _ := s.text(key)
	return v != "" && s.truth(key, v)
}

// unknown returns the keys of the stanza itself that nobody has asked for.
func (s *stanza) unknown() []string {
	return slices.DeleteFunc(s.config.own(s.name), func(key string) bool { return slices.Contains(s.asked, key) })
}

// done notes the keys that nobody has asked for.
func (s *stanza) done() {
	for _, key := range s.unknown() {
		s.fail(key, "is unknown: want one of %s", strings.Join(s.asked, ", "))
	}
}

// err returns what is wrong, in one line.
func (s *stanza) err() error { return inLine(s.errs) }

// inLine returns errors as one, in one line.
func inLine(errs []error) error {
	var texts []string
	for _, err := range errs {
		if err != nil {
			texts = append(texts, strings.ReplaceAll(err.Error(), "\n", "; "))
		}
	}
	if texts == nil {
		return nil
	}
	return errors.New(strings.Join(texts, "; "))
}

// missing says that a transport has no stanza.
func missing(transport string) error {
	return fmt.Errorf("%s selected as transport, but there is no [%s] stanza", transport, transport)
}

// LogValue tells all that is in the config, but for secrets.
func (c *Config) LogValue() slog.Value {
	var all []slog.Attr
	for name, values := range c.stanzas {
		var keys []slog.Attr
		for _, key := range c.own(name) {
			v := values[key]
			if isSecret(key, v) {
				v = "***"
			}
			keys = append(keys, slog.String(key, v))
		}
		all = append(all, slog.Attr{Key: name, Value: slog.GroupValue(keys...)})
	}
	slices.SortFunc(all, func(a, b slog.Attr) int { return strings.Compare(a.Key, b.Key) })
	return slog.GroupValue(all...)
}

// isSecret reports whether a value may have a secret in it: a password, a member
// whose name begins with _, as those of archivers do, headers, a specification, or
// a URL with a name in it.
func isSecret(key, v string) bool {
	switch {
	case strings.HasPrefix(key, "_"), strings.Contains(key, "password"), key == "headers":
		return true
	case key == specKey:
		return !strings.HasPrefix(v, "@")
	}
	return strings.Contains(v, `"_`) || strings.Contains(v, "://") && strings.Contains(v, "@")
}

// toJSON returns a value as the data of an archiver have it: JSON as it is, yes
// and no as Python writes them, and anything else as a string.
func toJSON(v string) json.RawMessage {
	switch {
	case v == "True":
		return json.RawMessage("true")
	case v == "False":
		return json.RawMessage("false")
	case json.Valid([]byte(v)):
		return json.RawMessage(v)
	}
	text, err := json.Marshal(v)
	if err != nil { // which a string does not give
		return json.RawMessage(`""`)
	}
	return text
}
