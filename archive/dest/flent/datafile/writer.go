package datafile

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// The tests of Flent whose plots show one-way delays.
const (
	// Ping has any number of paths in one plot, by their labels.
	Ping = "ping"
	// VoIP has one path, with plots of its delay, its jitter and its losses.
	VoIP = "voip"
)

// Version is that of the format.
const Version = 4

// DefaultStep is Flent's own.
const DefaultStep = 200 * time.Millisecond

// A Test is what a file tells of.
type Test struct {
	Name        string // [Ping] or [VoIP]
	Title, Note string // may be empty
	// Step is the time from one row of the table to the next; 0: [DefaultStep]. It
	// is as many times as long where the table would have more than two million
	// cells.
	Step      time.Duration
	LocalHost string   // which has measured
	Hosts     []string // the others; the first of them is the test's
	IPVersion int      // 4 or 6; 0: nobody knows
	Program   string   // that writes the file, and its version
	// Metadata are more members of the metadata. Flent takes those that are called
	// as its settings are for settings.
	Metadata map[string]any
	Paths    []Path // one or more; of [VoIP] one
}

// A Path is one direction between two hosts.
type Path struct {
	Label string // as [Labels] makes them
	// Samples are its packets, nearly in the order in which they were sent. They
	// are iterated over more than once.
	Samples  iter.Seq2[Sample, error]
	Metadata map[string]any // more of what the file says of the series of delays
}

// Names of series.
func delayName(label string) string     { return "Ping (ms) ICMP " + label + " (extra)" }
func variationName(label string) string { return "IPDV (ms) " + label }
func lossName(label string) string      { return "Loss (packets) " + label }

const (
	voipName         = "VoIP"
	voipDelayName    = "VoIP::delay"
	voipJitterName   = "VoIP::jitter"
	voipLossName     = "VoIP::loss"
	pingHostsSetting = "ping_hosts"
)

// A Writer writes a file about a test whose packets it has counted.
//
// In a file of the test [Ping] each path has three series: its delays, which plots
// show, and of which there is one value a packet, null where it was lost; their
// variation (RFC 5481 section 4.1), of which there is a value where neither of two
// packets was lost; and in the table how many were lost. In one of [VoIP] there are
// delay, jitter, which is the mean of the absolute variation, and loss. The table
// has the mean of each step, to the nanosecond, and null where there is none. A
// packet counts once, and in the step in which it was sent.
type Writer struct {
	*Test
	// Start and End are when the first packet was sent, and the last. Start is the
	// time of the test and, to the microsecond, where its axis of time begins.
	Start, End time.Time

	grid   grid
	series map[string]map[string]any // what the file says of each
	out    *bufio.Writer
	line   []byte  // that is being made
	bins   [][]bin // by path
}

// ErrNoPackets is that there is nothing that a file could tell of.
var ErrNoPackets = errors.New("no packets: want at least one, received or lost")

// NewWriter returns a writer of a file about t. It reads all samples.
func NewWriter(t *Test) (*Writer, error) {
	switch {
	case t.Name != Ping && t.Name != VoIP:
		return nil, fmt.Errorf("test %q: want %s or %s", t.Name, Ping, VoIP)
	case len(t.Paths) == 0:
		return nil, errors.New("a data file of no path: want at least one")
	case len(t.Paths) > 1 && t.Name == VoIP:
		return nil, fmt.Errorf("%d paths in a data file of the test %s: want one", len(t.Paths), VoIP)
	}
	f := &Writer{Test: t, series: make(map[string]map[string]any)}
	first, last := int64(math.MaxInt64), int64(math.MinInt64)
	for i := range t.Paths {
		p := &t.Paths[i]
		var all totals
		for k, err := range packets(p.Samples) {
			if err != nil {
				return nil, err
			}
			first, last = min(first, k.Sent), max(last, k.Sent)
			all.add(&k)
		}
		f.describe(p, &all)
	}
	if first > last {
		return nil, ErrNoPackets
	}
	f.Start, f.End = time.Unix(0, first).UTC(), time.Unix(0, last).UTC()
	f.grid = newGrid(f.Start, f.End, cmp.Or(t.Step, DefaultStep), len(t.Paths))
	return f, nil
}

// FileName returns the format's own name of the file.
func (f *Writer) FileName(suffix string) string {
	return FileName(f.Name, f.Start, f.Title, suffix)
}

// Write writes the file, whose name is in its metadata.
func (f *Writer) Write(w io.Writer, fileName string) error {
	// A fifth more octets than by default for a quarter of the time, which a host
	// that measures has better uses for.
	z, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return err
	}
	f.out = bufio.NewWriterSize(z, 1<<16)
	f.bins = make([][]bin, len(f.Paths))
	if err := f.write(fileName); err != nil {
		return err
	}
	if err := f.out.Flush(); err != nil {
		return err
	}
	return z.Close()
}

// write writes the members of the file, its metadata first, for those who want no
// more. What fails to be written is told when it is flushed.
func (f *Writer) write(fileName string) error {
	text, err := json.MarshalIndent(f.metadata(fileName), "", "  ")
	if err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	f.text("{\"metadata\": ")
	f.line = appendASCII(f.line[:0], text)
	f.flush()
	f.text(",\n\"raw_values\": {")
	for i := range f.Paths {
		if err := f.raw(i); err != nil {
			return err
		}
	}
	f.text("},\n\"results\": {")
	for i := range f.Paths {
		f.results(i)
	}
	f.text("},\n\"version\": " + strconv.Itoa(Version) + ",\n\"x_values\": [")
	for i := range f.grid.steps {
		f.separate(i)
		f.line = appendDecimal(f.line[:0], int64(i)*f.grid.step, second)
		f.flush()
	}
	f.text("]}\n")
	return nil
}

func (f *Writer) text(s string) { _, _ = f.out.WriteString(s) }

// flush writes the line.
func (f *Writer) flush() { _, _ = f.out.Write(f.line) }

// separate writes what comes before the i-th element of an array.
func (f *Writer) separate(i int) {
	if i > 0 {
		f.text(", ")
	}
}

// begin begins the member of an object that is a series.
func (f *Writer) begin(name string, first bool) {
	if !first {
		f.text(",")
	}
	quoted, _ := json.Marshal(name) // never fails
	f.line = append(appendASCII(append(f.line[:0], '\n'), quoted), ": ["...)
	f.flush()
}

// raw writes the values of the packets of a path, and counts them.
func (f *Writer) raw(i int) error {
	p := &f.Paths[i]
	bins := make([]bin, f.grid.steps)
	f.bins[i] = bins
	name := delayName(p.Label)
	if f.Name == VoIP {
		name = voipName
	}
	f.begin(name, i == 0)
	n := 0
	var before packet
	for k, err := range packets(p.Samples) {
		if err != nil {
			return err
		}
		f.separate(n)
		if n > 0 && k.Session != before.Session && k.Sent-before.Sent > longestBridge*f.grid.step {
			f.gap(before.Sent + 1)
			f.separate(1)
		}
		n++
		before = k
		f.packet(&k)
		bins[f.grid.bin(k.Sent)].add(&k)
	}
	f.text("]")
	if f.Name == VoIP {
		return nil
	}
	f.begin(variationName(p.Label), false)
	n = 0
	for k, err := range packets(p.Samples) {
		if err != nil {
			return err
		}
		if !k.paired {
			continue
		}
		f.separate(n)
		n++
		f.value(&k)
		f.member("val", k.variation)
		f.endValue()
	}
	f.text("]")
	return nil
}

// value begins the line of a raw value of a packet.
func (f *Writer) value(k *packet) {
	b := append(f.line[:0], `{"seq": `...)
	b = strconv.AppendUint(b, uint64(k.Seq), 10)
	b = append(b, `, "t": `...)
	f.line = appendDecimal(b, k.Sent, second)
}

// member appends a member to the line, in milliseconds of nanoseconds.
func (f *Writer) member(name string, v int64) {
	f.line = append(append(append(f.line, `, "`...), name...), `": `...)
	f.line = appendDecimal(f.line, v, millisecond)
}

// packet writes the raw value of the delay of a packet.
func (f *Writer) packet(k *packet) {
	f.value(k)
	if k.Lost {
		f.line = append(f.line, `, "val": null, "lost": true`...)
	} else {
		f.member("val", k.Delay)
		if f.Name == VoIP {
			f.member("owd_up", k.Delay)
		}
	}
	if f.Name == VoIP && k.paired {
		f.member("ipdv_up", k.variation)
	}
	f.endValue()
}

// longestBridge is how many steps there may be between two sessions for plots to
// draw a line from one to the other, as Flent draws its own.
const longestBridge = 5

// gap writes a value that is none, at which the line of a plot ends.
func (f *Writer) gap(t int64) {
	f.line = append(appendDecimal(append(f.line[:0], `{"t": `...), t, second), `, "val": null`...)
	f.endValue()
}

func (f *Writer) endValue() {
	f.line = append(f.line, '}')
	f.flush()
}

// results writes the columns of a path in the table.
func (f *Writer) results(i int) {
	label := f.Paths[i].Label
	names := [3]string{delayName(label), variationName(label), lossName(label)}
	variation := (*bin).meanVariation
	if f.Name == VoIP {
		names = [3]string{voipDelayName, voipJitterName, voipLossName}
		variation = (*bin).meanJitter
	}
	for k, column := range [3]struct {
		of   func(*bin) (int64, bool)
		unit uint64
	}{{(*bin).meanDelay, millisecond}, {variation, millisecond}, {(*bin).losses, 1}} {
		f.begin(names[k], i+k == 0)
		for n := range f.bins[i] {
			f.separate(n)
			if v, ok := column.of(&f.bins[i][n]); ok {
				f.line = appendDecimal(f.line[:0], v, column.unit)
				f.flush()
			} else {
				f.text("null")
			}
		}
		f.text("]")
	}
	f.bins[i] = nil
}

// describe notes what the file is to say of the series of a path.
func (f *Writer) describe(p *Path, all *totals) {
	m := map[string]any{
		"UNITS":            "ms",
		"PACKETS_SENT":     all.received + all.lost,
		"PACKETS_RECEIVED": all.received,
	}
	if sent := all.received + all.lost; sent > 0 {
		m["PACKET_LOSS_RATE"] = float64(all.lost) / float64(sent)
	}
	maps.Copy(m, p.Metadata)
	if f.Name == Ping {
		f.series[delayName(p.Label)] = m
		f.series[variationName(p.Label)] = map[string]any{"UNITS": "ms"}
		f.series[lossName(p.Label)] = map[string]any{"UNITS": "packets"}
		return
	}
	if all.received > 0 {
		m["OWD_UP_MEAN"] = all.delay / float64(all.received) / 1e6
	}
	if all.pairs > 0 {
		m["IPDV_UP_MEAN"] = all.jitter / float64(all.pairs) / 1e6
	}
	f.series[voipName] = m
	f.series[voipDelayName] = map[string]any{"UNITS": "ms"}
	f.series[voipJitterName] = map[string]any{"UNITS": "ms"}
	f.series[voipLossName] = map[string]any{"UNITS": "packets"}
}

// metadata returns the metadata: every member that Flent records, and Owl's.
func (f *Writer) metadata(fileName string) map[string]any {
	m := map[string]any{
		"NAME":                f.Name,
		"TITLE":               f.Title,
		"NOTE":                nullable(f.Note),
		"TIME":                f.Start.UTC().Format(timeForm),
		"T0":                  time.Unix(0, f.grid.t0).UTC().Format(timeForm),
		"HOST":                nil,
		"HOSTS":               f.Hosts,
		"LOCAL_HOST":          nullable(f.LocalHost),
		"LENGTH":              int64(f.End.Sub(f.Start)/time.Second) + 1,
		"TOTAL_LENGTH":        json.Number(appendDecimal(nil, int64(f.grid.steps)*f.grid.step, second)),
		"STEP_SIZE":           json.Number(appendDecimal(nil, f.grid.step, second)),
		"FLENT_VERSION":       f.Program,
		"IP_VERSION":          nil,
		"DATA_FILENAME":       fileName,
		"BATCH_NAME":          nil,
		"BATCH_TIME":          nil,
		"BATCH_TITLE":         nil,
		"BATCH_UUID":          nil,
		"HTTP_GETTER_DNS":     nil,
		"HTTP_GETTER_URLLIST": nil,
		"HTTP_GETTER_WORKERS": 4,
		"FAILED_RUNNERS":      0,
		"REMOTE_METADATA":     map[string]any{},
		"SERIES_META":         f.series,
	}
	if len(f.Hosts) > 0 {
		m["HOST"] = f.Hosts[0]
	}
	if f.IPVersion != 0 {
		m["IP_VERSION"] = f.IPVersion
	}
	parameters := map[string]any{}
	if f.Name == Ping {
		labels := make([]string, len(f.Paths))
		for i := range f.Paths {
			labels[i] = f.Paths[i].Label
		}
		parameters[pingHostsSetting] = strings.Join(labels, ",")
	}
	m["TEST_PARAMETERS"] = parameters
	maps.Copy(m, f.Metadata)
	return m
}

// nullable returns s, or null in place of nothing.
func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// Units of what is an integer here and a decimal in the file.
const (
	millisecond = 1e6 // ns
	second      = 1e9 // ns
)

// appendDecimal appends v/unit, a power of ten, with all its digits and no more.
func appendDecimal(b []byte, v int64, unit uint64) []byte {
	abs := uint64(v)
	if v < 0 {
		b = append(b, '-')
		abs = -abs
	}
	b = strconv.AppendUint(b, abs/unit, 10)
	fraction := abs % unit
	if fraction == 0 {
		return b
	}
	point := len(b)
	b = strconv.AppendUint(b, unit+fraction, 10) // whose 1 keeps the zeros behind it
	b[point] = '.'
	return bytes.TrimRight(b, "0")
}

// appendASCII appends JSON in which nothing is beyond ASCII: Flent reads its files
// in whatever encoding its host has.
func appendASCII(b, text []byte) []byte {
	for len(text) > 0 {
		if text[0] < utf8.RuneSelf {
			b, text = append(b, text[0]), text[1:]
			continue
		}
		r, size := utf8.DecodeRune(text)
		text = text[size:]
		if r > 0xffff {
			high, low := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
			continue
		}
		b = fmt.Appendf(b, `\u%04x`, r)
	}
	return b
}
