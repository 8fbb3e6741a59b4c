package datafile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"text/tabwriter"
	"unicode"
)

// AppendText appends for people what the file says of its test and its series:
// name is that of the file.
func (f *File) AppendText(b []byte, name string) []byte {
	b = fmt.Appendf(b, "--- Flent data file %s ---\n", clean(name))
	line := func(what, text string) {
		if text != "" {
			b = fmt.Appendf(b, "%-8s%s\n", what+":", clean(text))
		}
	}
	line("test", f.Text("NAME"))
	line("title", f.Text("TITLE"))
	line("time", f.Text("TIME"))
	line("from", f.Text("LOCAL_HOST"))
	line("to", f.Text("HOST"))
	line("note", f.Text("NOTE"))
	line("by", f.Text("FLENT_VERSION"))
	if step, ok := f.Metadata["STEP_SIZE"].(json.Number); ok {
		line("steps", fmt.Sprintf("%d of %s s", f.Steps, step))
	}
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\nmin\tmedian\tmean\t99%%\tmax\tpoints\tlost\t  %s\n", "series")
	for i := range f.Series {
		s := &f.Series[i]
		lost := "-"
		if s.Lost >= 0 {
			lost = strconv.Itoa(s.Lost)
		}
		unit := ""
		if s.Unit != "" {
			unit = ", " + clean(s.Unit)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t  %s%s\n", s.number(s.Min), s.number(s.Median), s.number(s.Mean), s.number(s.P99), s.number(s.Max), s.Points, lost, clean(s.Name), unit)
	}
	w.Flush() // to memory
	return append(b, table.Bytes()...)
}

// number returns one of the figures of a series, to six decimals: with
// milliseconds that are nanoseconds.
func (s *Series) number(v float64) string {
	if s.Points == 0 {
		return "-"
	}
	if math.Abs(v) >= 1e15 {
		return strconv.FormatFloat(v, 'g', 6, 64)
	}
	return strconv.FormatFloat(v, 'f', 6, 64)
}

// clean returns s without what a terminal would obey.
func clean(s string) string {
	out := []rune(s)
	for i, r := range out {
		if !unicode.IsPrint(r) {
			out[i] = '�'
		}
	}
	return string(out)
}
