package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"text/tabwriter"

	"owl/archive/dest/flent/datafile"
	"owl/internal/report"
	"owl/internal/table"
)

// isFlent reports whether the file at path is no session file, and may be a data
// file of Flent.
func isFlent(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false // which is told when it is read
	}
	defer f.Close()
	var head [8]byte
	n, _ := io.ReadFull(f, head[:])
	return datafile.Known(head[:n])
}

// printFlent prints what there is in a data file of Flent.
func printFlent(path string, o *report.Options, stdout io.Writer) error {
	if name := beside(o); name != "" {
		return fmt.Errorf("%s is a data file of Flent, of which option %s can tell nothing", path, name)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	d, err := datafile.Read(f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	_, err = stdout.Write(appendFlent(nil, d, path))
	return err
}

// appendFlent appends for people what a data file says of its test and its series;
// name is its own.
func appendFlent(b []byte, f *datafile.File, name string) []byte {
	b = fmt.Appendf(b, "--- Flent data file %s ---\n", table.Plain(name))
	line := func(what, text string) {
		if text != "" {
			b = fmt.Appendf(b, "%-8s%s\n", what+":", table.Plain(text))
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
	var rows bytes.Buffer
	w := tabwriter.NewWriter(&rows, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\nmin\tmedian\tmean\t99%%\tmax\tpoints\tlost\t  %s\n", "series")
	for i := range f.Series {
		s := &f.Series[i]
		lost := "-"
		if s.Lost >= 0 {
			lost = strconv.Itoa(s.Lost)
		}
		unit := ""
		if s.Unit != "" {
			unit = ", " + table.Plain(s.Unit)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t  %s%s\n", figure(s, s.Min), figure(s, s.Median), figure(s, s.Mean), figure(s, s.P99), figure(s, s.Max), s.Points, lost, table.Plain(s.Name), unit)
	}
	w.Flush() // to memory
	return append(b, rows.Bytes()...)
}

// figure returns one of the figures of a series, to six decimals: with milliseconds
// that are nanoseconds.
func figure(s *datafile.Series, v float64) string {
	if s.Points == 0 {
		return "-"
	}
	if math.Abs(v) >= 1e15 {
		return strconv.FormatFloat(v, 'g', 6, 64)
	}
	return strconv.FormatFloat(v, 'f', 6, 64)
}
