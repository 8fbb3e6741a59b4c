package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"owl/archive/member"
	"owl/archive/transform"
)

const (
	maxSchema = 3    // the newest of a specification
	maxSpecs  = 1000 // in one text
)

// A Spec says where results go.
type Spec struct {
	Archiver  string
	Data      json.RawMessage // for the archiver, without comments
	Transform *transform.Transform
	TTL       time.Duration // since a result has come; 0: forever
	Runs      Runs
	URIHost   string // for the addresses of tasks and runs; empty: this host's name
	Label     string
	Raw       bool // results are to have all their packets: Owl's own, in any schema
	masked    json.RawMessage
	transform json.RawMessage
}

// Runs says which results an archive wants, by whether they have succeeded.
type Runs string

// The choices. Without one a stream passes on everything, as pScheduler does
// for streams.
const (
	RunsAll       Runs = "all"
	RunsSucceeded Runs = "succeeded"
	RunsFailed    Runs = "failed"
)

// Wants reports whether a result is wanted.
func (r Runs) Wants(succeeded bool) bool {
	return r == "" || r == RunsAll || (r == RunsSucceeded) == succeeded
}

// hostPort is a host, with or without a port.
var hostPort = regexp.MustCompile(`^(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$`)

// ParseSpec reads a specification. The error tells of all that is wrong, a line
// each. What is in Data the archiver is to say.
func ParseSpec(text []byte) (*Spec, error) {
	o, err := member.Parse("", text)
	if err != nil {
		return nil, err
	}
	return readSpec(o)
}

// readSpec reads the specification o.
func readSpec(o *member.Object) (*Spec, error) {
	s := &Spec{}
	schema := o.Schema(maxSchema)
	o.Need("archiver", "data")
	s.Archiver = o.Text("archiver")
	s.TTL = o.Duration("ttl", 0)
	if o.Has("ttl") && s.TTL == 0 && o.Err() == nil {
		o.Fail("ttl", "want more than nothing")
	}
	if t := o.Object("transform"); t != nil {
		s.Transform = transform.Read(t)
	}
	if o.Since(schema, 2, "runs") {
		s.Runs = Runs(o.Option("runs", string(RunsSucceeded), string(RunsFailed), string(RunsAll)))
	}
	if o.Since(schema, 2, "uri-host") {
		if s.URIHost = o.Text("uri-host"); o.Err() == nil && !hostPort.MatchString(s.URIHost) {
			o.Fail("uri-host", "%q: want a host, or host:port", s.URIHost)
		}
	}
	if o.Since(schema, 3, "label") {
		s.Label = o.String("label")
	}
	s.Raw = o.Bool("output-raw", s.Archiver == "flent") // whose data files have each packet
	data := o.Any("data")
	o.Done()
	if err := o.Err(); err != nil {
		return nil, err
	}
	var err error
	if s.Data, err = json.Marshal(data); err != nil {
		return nil, fmt.Errorf("/data: %w", err)
	}
	if s.masked, err = json.Marshal(member.Masked(o.Value())); err != nil {
		return nil, err
	}
	s.transform, err = json.Marshal(o.Any("transform"))
	return s, err
}

// String returns the specification without its secrets: what a member is whose
// name begins with _.
func (s *Spec) String() string { return string(s.masked) }

// Key returns what a destination is known by from one start to the next: the
// label of its specification, or else all that says where results go and what
// becomes of them on the way.
func (s *Spec) Key() string {
	if s.Label != "" {
		return "label " + s.Label
	}
	h := sha256.New()
	for _, part := range [][]byte{[]byte(s.Archiver), s.Data, s.transform} {
		fmt.Fprintf(h, "%d ", len(part))
		h.Write(part)
	}
	return fmt.Sprintf("%s %x", s.Archiver, h.Sum(nil)[:16])
}

// Name returns what a specification is called among others: its label, or else
// its archiver.
func (s *Spec) Name() string {
	if s.Label != "" {
		return s.Label
	}
	return s.Archiver
}

// ParseSpecs reads one specification, an array of them, or an object whose
// members are specifications, as archives in a template of pSConfig are.
func ParseSpecs(text []byte) ([]*Spec, error) {
	v, err := member.Decode(text)
	if err != nil {
		return nil, err
	}
	type named struct {
		path string
		v    any
	}
	var each []named
	template := false
	switch v := v.(type) {
	case []any:
		for i := range v {
			each = append(each, named{fmt.Sprintf("/%d", i), v[i]})
		}
	case map[string]any:
		if _, isSpec := v["archiver"]; isSpec || !allObjects(v) {
			each = append(each, named{"", v})
			break
		}
		template = true
		for _, name := range slices.Sorted(maps.Keys(v)) {
			each = append(each, named{"/" + name, v[name]})
		}
	default:
		return nil, fmt.Errorf("%s: want an archive specification, or an array of them", member.Kind(v))
	}
	if len(each) > maxSpecs {
		return nil, fmt.Errorf("%d archive specifications: want at most %d", len(each), maxSpecs)
	}
	var all []*Spec
	var errs []error
	for _, e := range each {
		o, err := member.Of(e.path, e.v)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if template {
			o.Has("_meta") // is the template's own
		}
		s, err := readSpec(o)
		errs = append(errs, err)
		all = append(all, s)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return all, nil
}

// allObjects reports whether there is nothing but objects in m, and any.
func allObjects(m map[string]any) bool {
	for _, v := range m {
		if _, ok := v.(map[string]any); !ok {
			return false
		}
	}
	return len(m) > 0
}

// equal reports whether two specifications say the same.
func (s *Spec) equal(o *Spec) bool {
	return s.Archiver == o.Archiver && bytes.Equal(s.Data, o.Data) && bytes.Equal(s.transform, o.transform) &&
		s.TTL == o.TTL && s.Runs == o.Runs && s.URIHost == o.URIHost && s.Label == o.Label && s.Raw == o.Raw
}
