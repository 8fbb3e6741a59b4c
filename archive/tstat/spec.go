package tstat

import (
	"encoding/json"
	"errors"
	"fmt"

	"owl/archive"
	"owl/archive/atfile"
)

// specKey is the key of a stanza whose value is a whole specification.
const specKey = "spec"

// Spec returns the archive specification of a transport that is an archiver. The
// stanza of its name has the members of the archiver's data as its keys, each
// value JSON or a text, or a key spec: a specification in JSON, or @ and the name
// of a file with one.
func (c *Config) Spec(transport string) (*archive.Spec, error) {
	if !c.Has(transport) {
		return nil, missing(transport)
	}
	text, err := c.specText(transport)
	if err != nil {
		return nil, err
	}
	s, err := archive.ParseSpec(text)
	if err != nil {
		return nil, fmt.Errorf("[%s] %w", transport, inLine([]error{err}))
	}
	if s.Archiver != transport {
		return nil, fmt.Errorf("[%s] %s: /archiver: %q: want %q", transport, specKey, s.Archiver, transport)
	}
	return s, nil
}

// specText returns the specification as text.
func (c *Config) specText(transport string) ([]byte, error) {
	value, ok, err := c.value(transport, specKey)
	if err != nil {
		return nil, err
	}
	if ok {
		if len(c.own(transport)) > 1 {
			return nil, fmt.Errorf("[%s] %s: want no other key beside it", transport, specKey)
		}
		text, err := atfile.Read(value)
		if err != nil {
			return nil, fmt.Errorf("[%s] %s: %w", transport, specKey, err)
		}
		return []byte(text), nil
	}
	data := make(map[string]json.RawMessage)
	var errs []error
	for _, key := range c.keys(transport) {
		v, _, err := c.value(transport, key)
		errs = append(errs, err)
		data[key] = toJSON(v)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, inLine(errs)
	}
	return json.Marshal(map[string]any{"archiver": transport, "data": data})
}
