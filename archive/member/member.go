// Package member reads JSON objects whose members are known: which there may be,
// of what type. Whatever is wrong is told with the path of the member, as a JSON
// pointer, and what was expected there; all of it, not the first alone.
//
// Members whose name begins with # are comments, as pScheduler has them.
package member

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"owl/archive/iso8601"
)

const (
	maxDepth  = 64
	maxErrors = 20 // that are told
)

// An Object is a JSON object that is being read. Each method that reads a member
// notes what is wrong with it; [Object.Err] tells.
type Object struct {
	path  string
	all   map[string]any
	known map[string]bool
	open  bool // any other member may be there, too
	errs  *[]error
}

// Parse reads a text that is one JSON object; path is how errors call it, "" for
// the outermost.
func Parse(path string, text []byte) (*Object, error) {
	v, err := Decode(text)
	if err != nil {
		return nil, err
	}
	return Of(path, v)
}

// Of is [Parse] of a text that [Decode] has read.
func Of(path string, v any) (*Object, error) {
	all, err := object(path, v)
	if err != nil {
		return nil, err
	}
	return &Object{path: path, all: all, known: make(map[string]bool), errs: new([]error)}, nil
}

// Value returns what the object has been read from.
func (o *Object) Value() map[string]any { return o.all }

// Masked returns v without its secrets: of a member whose name begins with _ only
// the name.
func Masked(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for name, value := range v {
			if strings.HasPrefix(name, "_") {
				m[name] = nil
			} else {
				m[name] = Masked(value)
			}
		}
		return m
	case []any:
		a := make([]any, len(v))
		for i := range v {
			a[i] = Masked(v[i])
		}
		return a
	}
	return v
}

// Decode reads a text that is one JSON value, without the comments in it.
// Numbers are [json.Number].
func Decode(text []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("no JSON: %w", located(text, err))
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("octet %d: more behind the JSON value: want one", dec.InputOffset())
	}
	return uncommented(v, 0)
}

// located says where in text an error is.
func located(text []byte, err error) error {
	if s, ok := errors.AsType[*json.SyntaxError](err); ok {
		line := 1 + bytes.Count(text[:min(s.Offset, int64(len(text)))], []byte{'\n'})
		return fmt.Errorf("line %d: %w", line, err)
	}
	return err
}

// uncommented returns v without the comments in it.
func uncommented(v any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("more than %d levels: want fewer", maxDepth)
	}
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if strings.HasPrefix(name, "#") {
				delete(v, name)
				continue
			}
			value, err := uncommented(value, depth+1)
			if err != nil {
				return nil, err
			}
			v[name] = value
		}
	case []any:
		for i := range v {
			value, err := uncommented(v[i], depth+1)
			if err != nil {
				return nil, err
			}
			v[i] = value
		}
	}
	return v, nil
}

func object(path string, v any) (map[string]any, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: %s: want an object", where(path), Kind(v))
	}
	return m, nil
}

// where returns the JSON pointer path, / for the outermost value.
func where(path string) string {
	if path == "" {
		return "/"
	}
	return path
}

// Kind says what a value is, as errors have it.
func Kind(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		if len(v) > 40 {
			return strconv.Quote(v[:40]) + "…"
		}
		return strconv.Quote(v)
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	case []any:
		return "an array"
	}
	return "an object"
}

// Path returns the JSON pointer of a member.
func (o *Object) Path(name string) string {
	return o.path + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// Fail notes what is wrong with a member.
func (o *Object) Fail(name, format string, args ...any) {
	if len(*o.errs) < maxErrors {
		*o.errs = append(*o.errs, fmt.Errorf("%s: %s", o.Path(name), fmt.Sprintf(format, args...)))
	}
}

// wrong notes that a member is not what is wanted. What a secret is, is not
// told.
func (o *Object) wrong(name string, v any, want string) {
	what := Kind(v)
	if strings.HasPrefix(name, "_") {
		what = "a secret that will not do"
	}
	o.Fail(name, "%s: want %s", what, want)
}

// Has reports whether there is such a member, which is then known.
func (o *Object) Has(name string) bool {
	_, ok := o.get(name)
	return ok
}

func (o *Object) get(name string) (any, bool) {
	o.known[name] = true
	v, ok := o.all[name]
	return v, ok
}

// Need notes a member that is not there.
func (o *Object) Need(names ...string) {
	for _, name := range names {
		if !o.Has(name) {
			o.Fail(name, "is missing")
		}
	}
}

// AllowOthers says that members which nobody has asked for may be there.
func (o *Object) AllowOthers() { o.open = true }

// Names returns the names of all members, sorted.
func (o *Object) Names() []string { return slices.Sorted(maps.Keys(o.all)) }

// Any returns the value of a member; nil: it is null or not there.
func (o *Object) Any(name string) any {
	v, _ := o.get(name)
	return v
}

// String returns a member that is a string; "": there is none.
func (o *Object) String(name string) string {
	v, ok := o.get(name)
	if !ok {
		return ""
	}
	s, ok := v.(string)
	if !ok {
		o.wrong(name, v, "a string")
	}
	return s
}

// Text is String of a member that may not be empty.
func (o *Object) Text(name string) string {
	s := o.String(name)
	if v, ok := o.all[name]; ok && v == "" {
		o.wrong(name, v, "a string that is not empty")
	}
	return s
}

// Option returns a member that is one of the options; without one the first.
func (o *Object) Option(name string, options ...string) string {
	v, ok := o.get(name)
	if !ok {
		return options[0]
	}
	s, ok := v.(string)
	if !ok || !slices.Contains(options, s) {
		o.wrong(name, v, "one of "+strings.Join(options, ", "))
	}
	return s
}

// Bool returns a member that is true or false; without one, otherwise.
func (o *Object) Bool(name string, otherwise bool) bool {
	v, ok := o.get(name)
	if !ok {
		return otherwise
	}
	b, ok := v.(bool)
	if !ok {
		o.wrong(name, v, "true or false")
	}
	return b
}

// Int returns a member that is a whole number from least to most; without one,
// otherwise.
func (o *Object) Int(name string, least, most, otherwise int64) int64 {
	v, ok := o.get(name)
	if !ok {
		return otherwise
	}
	n, ok := whole(v)
	if !ok || n < least || n > most {
		o.wrong(name, v, fmt.Sprintf("a whole number from %d to %d", least, most))
		return otherwise
	}
	return n
}

// whole returns a number without a fraction; 1.0 is one as well.
func whole(v any) (int64, bool) {
	number, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	if n, err := number.Int64(); err == nil {
		return n, true
	}
	f, err := number.Float64()
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, false
	}
	return int64(f), true
}

// Schema returns the member schema, which says what other members there may be;
// without one it is 1, and most is the newest.
func (o *Object) Schema(most int64) int64 { return o.Int("schema", 1, most, 1) }

// Since reports whether there is a member which there may be since the schema
// first, and notes it if schema is older.
func (o *Object) Since(schema, first int64, name string) bool {
	if !o.Has(name) {
		return false
	}
	if schema < first {
		o.Fail(name, `want "schema": %d, or none of it`, first)
	}
	return true
}

// Float returns a member that is a number; without one, otherwise.
func (o *Object) Float(name string, otherwise float64) float64 {
	v, ok := o.get(name)
	if !ok {
		return otherwise
	}
	number, ok := v.(json.Number)
	f, err := number.Float64()
	if !ok || err != nil {
		o.wrong(name, v, "a number")
		return otherwise
	}
	return f
}

// Duration returns a member that is an ISO 8601 duration; without one,
// otherwise.
func (o *Object) Duration(name string, otherwise time.Duration) time.Duration {
	v, ok := o.get(name)
	if !ok {
		return otherwise
	}
	s, ok := v.(string)
	if !ok {
		o.wrong(name, v, "an ISO 8601 duration")
		return otherwise
	}
	d, err := iso8601.ParseDuration(s)
	if err != nil {
		o.Fail(name, "%v", err)
	}
	return d
}

// Object returns a member that is an object, whose errors are those of o, too;
// nil: there is none.
func (o *Object) Object(name string) *Object {
	v, ok := o.get(name)
	if !ok {
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		o.wrong(name, v, "an object")
		return nil
	}
	return o.child(o.Path(name), m)
}

func (o *Object) child(path string, m map[string]any) *Object {
	return &Object{path: path, all: m, known: make(map[string]bool), errs: o.errs}
}

// Array returns the elements of a member that is an array; none: there is no such
// member.
func (o *Object) Array(name string) []any {
	v, ok := o.get(name)
	if !ok {
		return nil
	}
	a, ok := v.([]any)
	if !ok {
		o.wrong(name, v, "an array")
	}
	return a
}

// Objects returns the elements of a member that is an array of objects.
func (o *Object) Objects(name string) []*Object {
	var all []*Object
	for i, v := range o.Array(name) {
		path := fmt.Sprintf("%s/%d", o.Path(name), i)
		m, err := object(path, v)
		if err != nil {
			*o.errs = append(*o.errs, err)
			continue
		}
		all = append(all, o.child(path, m))
	}
	return all
}

// Done notes the members that nobody has asked for.
func (o *Object) Done() {
	if o.open {
		return
	}
	for _, name := range o.Names() {
		if !o.known[name] {
			o.Fail(name, "is unknown: want %s", o.wanted())
		}
	}
}

// Err returns all that was wrong so far, one line each; nil: nothing.
func (o *Object) Err() error { return errors.Join(*o.errs...) }

// wanted says which members may be there.
func (o *Object) wanted() string {
	if len(o.known) == 0 {
		return "none"
	}
	return "one of " + strings.Join(slices.Sorted(maps.Keys(o.known)), ", ")
}
