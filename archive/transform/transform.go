// Package transform makes of a result what a destination is to have, by a script
// in the jq language.
package transform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/itchyny/gojq"

	"owl/archive/member"
)

// Bounds of a transform.
const (
	maxScript = 1 << 20  // octets
	maxOutput = 16 << 20 // octets
	timeout   = 5 * time.Second
)

// A Transform is a compiled script. It may be used by many goroutines at once.
type Transform struct {
	code  *gojq.Code
	args  []any
	raw   bool
	limit time.Duration
}

// Read reads an object that is a transform: a script, as a string or as a list of
// lines; args, whose members are the script's variables; and output-raw, or
// raw-output. It returns nil if o notes an error.
func Read(o *member.Object) *Transform {
	o.Need("script")
	script := text(o)
	raw := o.Bool("raw-output", false)
	if o.Has("output-raw") {
		raw = o.Bool("output-raw", false)
	}
	var names []string
	var args []any
	if a := o.Object("args"); a != nil {
		for _, name := range a.Names() {
			v, err := value(a.Any(name))
			if err != nil {
				a.Fail(name, "%v", err)
			}
			names, args = append(names, "$"+name), append(args, v)
		}
	}
	o.Done()
	if o.Err() != nil {
		return nil
	}
	t, err := compile(script, names)
	if err != nil {
		o.Fail("script", "%v", err)
		return nil
	}
	t.args, t.raw = args, raw
	return t
}

// text returns the script.
func text(o *member.Object) string {
	lines, isList := o.Any("script").([]any)
	if !isList {
		return o.String("script")
	}
	var all []string
	for i, v := range lines {
		line, ok := v.(string)
		if !ok {
			o.Fail("script", "line %d: %s: want a string", i, member.Kind(v))
		}
		all = append(all, line)
	}
	return strings.Join(all, "\n")
}

func compile(script string, variables []string) (*Transform, error) {
	if len(script) > maxScript {
		return nil, fmt.Errorf("want at most %d octets", maxScript)
	}
	q, err := gojq.Parse(script)
	if err != nil {
		return nil, fmt.Errorf("no jq: %w", err)
	}
	// A script has nothing of this process but what it is given.
	code, err := gojq.Compile(q, gojq.WithVariables(variables), gojq.WithModuleLoader(modules{}))
	if err != nil {
		return nil, fmt.Errorf("no jq: %w", err)
	}
	return &Transform{code: code, limit: timeout}, nil
}

// ErrDiscarded says that the script wants the result to go nowhere: it has
// returned null.
var ErrDiscarded = errors.New("the transform has discarded the result")

// Apply returns what the script makes of a result, as JSON: its first output, or,
// of a transform whose output is raw, a string of all of them, each in a line. Of
// those, strings are as they are, and others are JSON. It returns
// [ErrDiscarded], or an error of the script, or one of its bounds.
func (t *Transform) Apply(ctx context.Context, result []byte) ([]byte, error) {
	input, err := decode(result)
	if err != nil {
		return nil, fmt.Errorf("transform: the result: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, t.limit)
	defer cancel()
	outputs := t.code.RunWithContext(ctx, input, t.args...)
	if !t.raw {
		v, ok, err := next(ctx, outputs)
		switch {
		case err != nil:
			return nil, err
		case !ok:
			return nil, errors.New("transform: the script has no output: want one, null to discard the result")
		case v == nil:
			return nil, ErrDiscarded
		}
		return encode(v)
	}
	var lines []string
	size := 0
	for {
		v, ok, err := next(ctx, outputs)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		if v == nil {
			continue
		}
		line, isString := v.(string)
		if !isString {
			b, err := encode(v)
			if err != nil {
				return nil, err
			}
			line = string(b)
		}
		if size += len(line) + 1; size > maxOutput {
			return nil, errLong
		}
		lines = append(lines, line)
	}
	if lines == nil {
		return nil, ErrDiscarded
	}
	return encode(strings.Join(lines, "\n"))
}

var errLong = fmt.Errorf("transform: the script's output is too long: want at most %d octets", maxOutput)

// next returns the next output of a script; false: there is none.
func next(ctx context.Context, outputs gojq.Iter) (v any, ok bool, err error) {
	v, ok = outputs.Next()
	err, failed := v.(error)
	switch {
	case !failed:
		return v, ok, nil
	case ctx.Err() != nil:
		return nil, false, fmt.Errorf("transform: the script has not ended: %w", ctx.Err())
	}
	return nil, false, fmt.Errorf("transform: %w", err)
}

// encode returns v as JSON without line ends or escapes that JSON does not need.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	// gojq's values are those of encoding/json, and integers of any size.
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("transform: the script's output: %w", err)
	}
	if b.Len() > maxOutput {
		return nil, errLong
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

// decode reads JSON as gojq wants it.
func decode(text []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return value(v)
}

// value returns v, which is of the types of encoding/json, with the numbers that
// gojq has: a whole one keeps all of its digits.
func value(v any) (any, error) {
	switch v := v.(type) {
	case json.Number:
		return number(v)
	case []any:
		for i := range v {
			var err error
			if v[i], err = value(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for name, e := range v {
			var err error
			if v[name], err = value(e); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// known are the modules that scripts may import.
var known = []string{"pscheduler/iso8601", "pscheduler/si"}

// modules loads them.
type modules struct{}

// LoadModule is for gojq alone.
func (modules) LoadModule(name string) (*gojq.Query, error) {
	if !slices.Contains(known, name) {
		return nil, fmt.Errorf("module %q: want one of %s", name, strings.Join(known, ", "))
	}
	text, err := sources.ReadFile("modules/" + strings.TrimPrefix(name, "pscheduler/") + ".jq")
	if err != nil {
		return nil, err
	}
	return gojq.Parse(string(text))
}
