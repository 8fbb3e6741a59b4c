package datafile

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
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
	// Start and End are from when to when packets were sent. Start is the time of
	// the test and, to the microsecond, where its axis of time begins.
	Start, End time.Time
	// Step is the time from one row of the table to the next; 0: [DefaultStep]. It
	// is as many times as long where the table would have more than two million
	// cells.
	Step      time.Duration
	LocalHost string   // which has measured
	Hosts     []string // the others; the first of them is the test's
	IPVersion int      // 4 or 6; 0: nobody knows
	Program   string   // that writes the file, and its version
	FileName  string
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

// Write writes a file about t.
//
// In a file of the test [Ping] each path has three series: its delays, which plots
// show, and of which there is one value a packet, null where it was lost; their
// variation (RFC 5481 section 4.1), of which there is a value where neither of two
// packets was lost; and in the table how many were lost. In one of [VoIP] there are
// delay, jitter, which is the mean of the absolute variation, and loss. The table
// has the mean of each step, to the nanosecond, and null where there is none. A
// packet counts once, and in the step in which it was sent.
func Write(w io.Writer, t *Test) error {
	switch {
	case t.Name != Ping && t.Name != VoIP:
		return fmt.Errorf("test %q: want %s or %s", t.Name, Ping, VoIP)
	case len(t.Paths) == 0:
		return errors.New("a data file of no path: want at least one")
	case len(t.Paths) > 1 && t.Name == VoIP:
		return fmt.Errorf("%d paths in a data file of the test %s: want one", len(t.Paths), VoIP)
	}
	z := gzip.NewWriter(w)
	f := &writer{
		Test: t,
		out:  bufio.NewWriterSize(z, 1<<16),
		grid: newGrid(t.Start, t.End, cmp.Or(t.Step, DefaultStep), len(t.Paths)),
	}
	if err := f.write(); err != nil {
		return err
	}
	if err := f.out.Flush(); err != nil {
		return err
	}
	return z.Close()
}

// A writer is a file that is being written.
type writer struct {
	*Test
	out  *bufio.Writer
	grid grid
	line []byte // that is being made
	told map[string]map[string]any
	bins [][]bin // by path
}

// write writes the members of the file. What fails to be written is told when it
// is flushed.
func (f *writer) write() error {
	f.told = make(map[string]map[string]any)
	f.bins = make([][]bin, len(f.Paths))
	f.text(`{"version": 4, "raw_values": {`)
	for i := range f.Paths {
		if err := f.raw(i); err != nil {
			return err
		}
	}
	f.text("},\n\"results\": {")
	for i := range f.Paths {
		f.results(i)
	}
	f.text("},\n\"x_values\": [")
	for i := range f.grid.steps {
		f.separate(i)
		f.line = appendDecimal(f.line[:0], int64(i)*f.grid.step, 9)
		f.flush()
	}
	f.text("],\n\"metadata\": ")
	text, err := json.MarshalIndent(f.metadata(), "", "  ")
	if err != nil {
		return fmt.Errorf("metadata: %w", err)
	}
	f.line = appendASCII(f.line[:0], text)
	f.flush()
	f.text("}\n")
	return nil
}

func (f *writer) text(s string) { _, _ = f.out.WriteString(s) }

// flush writes the line.
func (f *writer) flush() { _, _ = f.out.Write(f.line) }

// separate writes what comes before the i-th element of an array.
func (f *writer) separate(i int) {
	if i > 0 {
		f.text(", ")
	}
}

// begin begins the member of an object that is a series.
func (f *writer) begin(name string, first bool) {
	if !first {
		f.text(",")
	}
	quoted, _ := json.Marshal(name) // never fails
	f.line = append(appendASCII(append(f.line[:0], '\n'), quoted), ": ["...)
	f.flush()
}

// raw writes the values of the packets of a path, and counts them.
func (f *writer) raw(i int) error {
	p := &f.Paths[i]
	bins := make([]bin, f.grid.steps)
	f.bins[i] = bins
	name := delayName(p.Label)
	if f.Name == VoIP {
		name = voipName
	}
	f.begin(name, i == 0)
	var all totals
	n := 0
	for k, err := range packets(p.Samples) {
		if err != nil {
			return err
		}
		f.separate(n)
		n++
		f.packet(&k)
		b := &bins[f.grid.bin(k.Sent)]
		switch {
		case k.Lost:
			b.lost++
			all.lost++
		default:
			b.received++
			b.delay += k.Delay
			all.received++
			all.delay += k.Delay
		}
		if k.paired {
			v := k.variation
			if f.Name == VoIP {
				v = max(v, -v)
			}
			b.pairs++
			b.variation += v
			all.pairs++
			all.variation += v
		}
	}
	f.text("]")
	f.tell(name, &all, p.Metadata)
	if f.Name == VoIP {
		return nil
	}
	name = variationName(p.Label)
	f.told[name] = map[string]any{"UNITS": "ms"}
	f.told[lossName(p.Label)] = map[string]any{"UNITS": "packets"}
	f.begin(name, false)
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
func (f *writer) value(k *packet) {
	b := append(f.line[:0], `{"seq": `...)
	b = strconv.AppendUint(b, uint64(k.Seq), 10)
	b = append(b, `, "t": `...)
	f.line = appendDecimal(b, k.Sent, 9)
}

// member appends a member to the line, in milliseconds of nanoseconds.
func (f *writer) member(name string, v int64) {
	f.line = append(append(append(f.line, `, "`...), name...), `": `...)
	f.line = appendDecimal(f.line, v, 6)
}

// packet writes the raw value of the delay of a packet.
func (f *writer) packet(k *packet) {
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

func (f *writer) endValue() {
	f.line = append(f.line, '}')
	f.flush()
}

// results writes the columns of a path in the table.
func (f *writer) results(i int) {
	delay := func(b *bin) (int64, bool) {
		if b.received == 0 {
			return 0, false
		}
		return mean(b.delay, b.received), true
	}
	variation := func(b *bin) (int64, bool) {
		if b.pairs == 0 {
			return 0, false
		}
		return mean(b.variation, b.pairs), true
	}
	loss := func(b *bin) (int64, bool) { return int64(b.lost), b.lost+b.received > 0 }
	label := f.Paths[i].Label
	names := []string{delayName(label), variationName(label), lossName(label)}
	if f.Name == VoIP {
		names = []string{voipDelayName, voipJitterName, voipLossName}
		for k, unit := range []string{"ms", "ms", "packets"} {
			f.told[names[k]] = map[string]any{"UNITS": unit}
		}
	}
	for k, column := range []struct {
		of       func(*bin) (int64, bool)
		decimals int
	}{{delay, 6}, {variation, 6}, {loss, 0}} {
		f.begin(names[k], i+k == 0)
		for n := range f.bins[i] {
			f.separate(n)
			if v, ok := column.of(&f.bins[i][n]); ok {
				f.line = appendDecimal(f.line[:0], v, column.decimals)
				f.flush()
			} else {
				f.text("null")
			}
		}
		f.text("]")
	}
	f.bins[i] = nil
}

// Totals of a path.
type totals struct {
	received, lost, pairs int64
	delay, variation      int64 // sums
}

// tell notes what the file is to say of the series name, beside what more says.
func (f *writer) tell(name string, all *totals, more map[string]any) {
	m := map[string]any{
		"UNITS":            "ms",
		"PACKETS_SENT":     all.received + all.lost,
		"PACKETS_RECEIVED": all.received,
	}
	if sent := all.received + all.lost; sent > 0 {
		m["PACKET_LOSS_RATE"] = float64(all.lost) / float64(sent)
	}
	if f.Name == VoIP {
		if all.received > 0 {
			m["OWD_UP_MEAN"] = float64(all.delay) / float64(all.received) / 1e6
		}
		if all.pairs > 0 {
			m["IPDV_UP_MEAN"] = float64(all.variation) / float64(all.pairs) / 1e6
		}
	}
	maps.Copy(m, more)
	f.told[name] = m
}

// metadata returns the metadata: every member that Flent records, and Owl's.
func (f *writer) metadata() map[string]any {
	length := f.End.Sub(f.Start)
	m := map[string]any{
		"NAME":                f.Name,
		"TITLE":               f.Title,
		"NOTE":                nullable(f.Note),
		"TIME":                f.Start.UTC().Format(timeForm),
		"T0":                  time.Unix(0, f.grid.t0).UTC().Format(timeForm),
		"HOST":                nil,
		"HOSTS":               f.Hosts,
		"LOCAL_HOST":          nullable(f.LocalHost),
		"LENGTH":              int64((length + time.Second - 1) / time.Second),
		"TOTAL_LENGTH":        json.Number(appendDecimal(nil, int64(f.grid.steps)*f.grid.step, 9)),
		"STEP_SIZE":           json.Number(appendDecimal(nil, f.grid.step, 9)),
		"FLENT_VERSION":       f.Program,
		"IP_VERSION":          nil,
		"DATA_FILENAME":       f.FileName,
		"BATCH_NAME":          nil,
		"BATCH_TIME":          nil,
		"BATCH_TITLE":         nil,
		"BATCH_UUID":          nil,
		"HTTP_GETTER_DNS":     nil,
		"HTTP_GETTER_URLLIST": nil,
		"HTTP_GETTER_WORKERS": 4,
		"FAILED_RUNNERS":      0,
		"REMOTE_METADATA":     map[string]any{},
		"SERIES_META":         f.told,
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

// appendDecimal appends v·10^-decimals with all its digits and no more.
func appendDecimal(b []byte, v int64, decimals int) []byte {
	abs := uint64(v)
	if v < 0 {
		b = append(b, '-')
		abs = -abs
	}
	digits := strconv.AppendUint(make([]byte, 0, 20), abs, 10)
	for len(digits) <= decimals {
		digits = append([]byte{'0'}, digits...)
	}
	b = append(b, digits[:len(digits)-decimals]...)
	fraction := strings.TrimRight(string(digits[len(digits)-decimals:]), "0")
	if fraction != "" {
		b = append(append(b, '.'), fraction...)
	}
	return b
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
