package datafile

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/bzip2"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
)

// A File is what a data file says.
type File struct {
	Version  int            // of the format; of a file that does not say it 1
	Metadata map[string]any // numbers are [json.Number]
	Steps    int            // rows of the table
	Series   []Series       // by name
}

// A Series is what Flent says of a series: of its values, one a packet, if the file
// has them, and else of its column in the table.
type Series struct {
	Name   string
	Unit   string // empty: the file does not say it
	Raw    bool   // these are single values, not those of the table
	Points int    // values, without what is null
	Lost   int    // packets; below 0: the file does not say it
	// Of the values, in the series' unit; all 0 without one. Median and P99 lie
	// between two values where there is none at their place.
	Min, Median, Mean, P99, Max float64
	Deviation                   float64 // the square root of the mean square difference from the mean
}

// Text returns the member name of the metadata as text; "" if it is null, not
// there, or no text.
func (f *File) Text(name string) string {
	s, _ := f.Metadata[name].(string)
	return s
}

// Known reports whether a file that begins so may be a data file. Eight octets are
// enough.
func Known(head []byte) bool {
	return bytes.HasPrefix(head, []byte("\x1f\x8b")) || bytes.HasPrefix(head, []byte("BZh")) ||
		bytes.HasPrefix(bytes.TrimLeft(head, " \t\r\n"), []byte("{"))
}

// ReadMetadata reads the metadata of a data file, and no more than it takes to find
// them.
func ReadMetadata(r io.Reader) (map[string]any, error) {
	p, err := newParser(r, usual)
	if err != nil {
		return nil, err
	}
	p.brief = true
	if err := p.read(); err != nil && !errors.Is(err, errBrief) {
		return nil, early(err)
	}
	return p.file.Metadata, nil
}

// errBrief is that nobody wants to know more.
var errBrief = errors.New("the metadata were read")

// Read reads a data file, compressed by gzip or bzip2 or not at all. It takes what
// Flent takes, as far as the table and the values go: an error is what neither
// could read, or a file that is larger than any test makes it.
func Read(r io.Reader) (*File, error) { return readBounded(r, usual) }

func readBounded(r io.Reader, b bounds) (*File, error) {
	p, err := newParser(r, b)
	if err != nil {
		return nil, err
	}
	if err := p.read(); err != nil {
		return nil, early(err)
	}
	return p.file, nil
}

// early says of an error what the end of a file in the middle of it means.
func early(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("no data file: it ends too early")
	}
	return err
}

func newParser(r io.Reader, b bounds) (*parser, error) {
	in := bufio.NewReader(r)
	head, err := in.Peek(3)
	if len(head) == 0 {
		return nil, early(err)
	}
	var text io.Reader = in
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		if text, err = gzip.NewReader(in); err != nil {
			return nil, early(err)
		}
	case string(head) == "BZh":
		text = bzip2.NewReader(in)
	}
	guard := &guard{bounds: b, r: text}
	p := &parser{
		guard: guard,
		json:  json.NewDecoder(guard),
		file:  &File{Version: 1},
		raw:   make(map[string]*values),
		rows:  make(map[string]*values),
	}
	p.json.UseNumber()
	return p, nil
}

// A parser reads a file.
type parser struct {
	guard  *guard
	json   *json.Decoder
	file   *File
	values int  // so far
	brief  bool // only the metadata are wanted
	raw    map[string]*values
	rows   map[string]*values
}

// Values are those of a series.
type values struct {
	all  []float64
	lost int
	rows int // all of them, null or not
}

func (p *parser) read() error {
	tables := 0
	err := p.object("the file", func(name string) error {
		switch name {
		case "version":
			return p.version()
		case "metadata":
			p.guard.whole = true
			err := p.decode(&p.file.Metadata, "metadata", "an object")
			p.guard.whole, p.guard.since = false, 0
			if err == nil && p.brief {
				err = errBrief
			}
			return err
		case "x_values":
			tables++
			return p.array("x_values", func() error {
				p.file.Steps++
				_, _, err := p.number("x_values")
				return err
			})
		case "results":
			tables++
			return p.object("results", p.row)
		case "raw_values":
			return p.object("raw_values", p.packets)
		}
		_, err := p.skip()
		return err
	})
	if err != nil {
		return err
	}
	if _, err := p.json.Token(); err != io.EOF {
		return p.wrong(cmp.Or(err, errors.New("more behind the JSON value")), "want one")
	}
	if tables < 2 || p.file.Metadata == nil {
		return errors.New("no data file: want the members results, x_values and metadata")
	}
	return p.finish()
}

func (p *parser) version() error {
	v, err := p.skip()
	if err != nil {
		return err
	}
	// What is no number Flent takes for none.
	if n, noNumber := strconv.Atoi(fmt.Sprint(v)); noNumber == nil {
		p.file.Version = n
	}
	if n := p.file.Version; n < 1 || n > Version {
		return fmt.Errorf("version %d of the format: want 1 to %d", n, Version)
	}
	return nil
}

// wrong says where an error was found.
func (p *parser) wrong(err error, want string) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errTooLong):
		return err
	}
	return fmt.Errorf("octet %d of the JSON: %w: %s", p.json.InputOffset(), err, want)
}

// object reads an object, with member for each of its members.
func (p *parser) object(what string, member func(name string) error) error {
	if err := p.open('{', what, "an object"); err != nil {
		return err
	}
	for p.json.More() {
		t, err := p.json.Token()
		if err != nil {
			return p.wrong(err, "want the name of a member")
		}
		if err := member(t.(string)); err != nil { // the decoder has seen to it
			return err
		}
	}
	_, err := p.json.Token()
	return p.closed(err)
}

// array reads an array, with element for each of its elements.
func (p *parser) array(what string, element func() error) error {
	if err := p.open('[', what, "an array"); err != nil {
		return err
	}
	for p.json.More() {
		if p.values++; p.values > p.guard.values {
			return fmt.Errorf("%w: more than %d values", errTooLong, p.guard.values)
		}
		if err := element(); err != nil {
			return err
		}
	}
	_, err := p.json.Token()
	return p.closed(err)
}

func (p *parser) open(delim json.Delim, what, want string) error {
	t, err := p.json.Token()
	if err != nil {
		return p.wrong(err, "want JSON")
	}
	if t != delim {
		return fmt.Errorf("octet %d of the JSON: %s: want %s", p.json.InputOffset(), what, want)
	}
	return nil
}

func (p *parser) closed(err error) error {
	if err != nil {
		return p.wrong(err, "want more members or elements, or their end")
	}
	return nil
}

func (p *parser) decode(v any, what, want string) error {
	if err := p.json.Decode(v); err != nil {
		if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return fmt.Errorf("octet %d of the JSON: %s: want %s", p.json.InputOffset(), what, want)
		}
		return p.wrong(err, "want JSON")
	}
	return nil
}

// skip reads a value, of which only the first token is wanted, if that.
func (p *parser) skip() (first json.Token, err error) {
	for depth := 0; ; {
		t, err := p.json.Token()
		if err != nil {
			return nil, p.wrong(err, "want JSON")
		}
		if depth == 0 {
			first = t
		}
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth == 0 {
			return first, nil
		}
	}
}

// number reads a number; ok is false where null is in its place.
func (p *parser) number(what string) (v float64, ok bool, err error) {
	t, err := p.json.Token()
	switch t := t.(type) {
	case json.Number:
		v, err = t.Float64()
		ok = true
	case nil:
	default:
		return 0, false, fmt.Errorf("octet %d of the JSON: %s: want a number or null", p.json.InputOffset(), what)
	}
	if err != nil {
		return 0, false, p.wrong(err, "want a number or null")
	}
	return v, ok, nil
}

// row reads the column name of the table.
func (p *parser) row(name string) error {
	c := &values{}
	if p.rows[name] = c; len(p.rows) > p.guard.series {
		return fmt.Errorf("%w: more than %d series", errTooLong, p.guard.series)
	}
	return p.array(name, func() error {
		v, ok, err := p.number(name)
		c.rows++
		if ok {
			c.all = append(c.all, v)
		}
		return err
	})
}

// packets reads the single values of the series name.
func (p *parser) packets(name string) error {
	c := &values{}
	if p.raw[name] = c; len(p.raw) > p.guard.series {
		return fmt.Errorf("%w: more than %d series", errTooLong, p.guard.series)
	}
	return p.array(name, func() error {
		var k struct {
			Val  any `json:"val"`
			Lost any `json:"lost"`
		}
		if err := p.decode(&k, name, "objects"); err != nil {
			return err
		}
		if k.Lost == true {
			c.lost++
		}
		number, ok := k.Val.(json.Number)
		if !ok {
			return nil
		}
		v, err := number.Float64()
		if err != nil {
			return p.wrong(err, "want a number")
		}
		c.all = append(c.all, v)
		return nil
	})
}

// finish makes the series of what was read.
func (p *parser) finish() error {
	told, _ := p.file.Metadata["SERIES_META"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(p.rows)) {
		c := p.rows[name]
		if c.rows != p.file.Steps {
			return fmt.Errorf("series %q has %d values, x_values %d: want as many", name, c.rows, p.file.Steps)
		}
		s := Series{Name: name, Lost: -1}
		if raw := p.raw[name]; raw != nil {
			if raw.lost > 0 {
				s.Lost = raw.lost
			}
			if len(raw.all) > 0 {
				c, s.Raw = raw, true
			}
		}
		if m, ok := told[name].(map[string]any); ok {
			s.Unit, _ = m["UNITS"].(string)
			sent, ok := count(m["PACKETS_SENT"])
			received, ok2 := count(m["PACKETS_RECEIVED"])
			if ok && ok2 && sent >= received {
				s.Lost = sent - received
			}
		}
		s.summarize(c.all)
		p.file.Series = append(p.file.Series, s)
	}
	return nil
}

// count returns a number of packets.
func count(v any) (n int, ok bool) {
	number, _ := v.(json.Number)
	n, err := strconv.Atoi(number.String())
	return n, err == nil && n >= 0
}

// summarize says what there is to say of values, which it sorts.
func (s *Series) summarize(all []float64) {
	s.Points = len(all)
	if s.Points == 0 {
		return
	}
	slices.Sort(all)
	n := float64(len(all))
	for _, v := range all {
		s.Mean += v / n
	}
	var squares float64
	for _, v := range all {
		squares += (v - s.Mean) * (v - s.Mean)
	}
	s.Deviation = math.Sqrt(squares / n)
	s.Min, s.Max = all[0], all[len(all)-1]
	s.Median, s.P99 = quantile(all, 0.5), quantile(all, 0.99)
}

// quantile returns the quantile q of sorted values, by the line between the two
// that are nearest to its place.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	below := int(at)
	above := min(below+1, len(sorted)-1)
	w := at - float64(below)
	// No difference, which may be more than there are numbers for.
	return min(max(sorted[below]*(1-w)+sorted[above]*w, sorted[below]), sorted[above])
}
