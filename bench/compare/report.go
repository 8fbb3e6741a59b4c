package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
)

// A figure is one thing that was measured of both suites: the medians over the
// rounds.
type figure struct {
	Section   string   `json:"section"`
	Name      string   `json:"name"`
	Unit      string   `json:"unit,omitempty"`
	Owl       float64  `json:"owl"`
	Reference *float64 `json:"reference,omitempty"`
	Ratio     *float64 `json:"ratio,omitempty"` // Owl / reference
	Aim       string   `json:"aim,omitempty"`
	Limit     float64  `json:"-"` // the most that Owl's is to be; 0: no aim
	Holds     *bool    `json:"holds,omitempty"`

	values [2][]float64 // of Owl and the reference, by round
	rate   int          // packets/s, for the plot
	most   float64      // that the ratio is to be; 0: no aim
	least  float64      // that it is to be; 0: no aim
	more   bool         // the more, the better
	none   bool         // Owl's is to be 0
}

// settle makes a figure of what was collected.
func (f *figure) settle() {
	f.Owl = median(f.values[0])
	if len(f.values[1]) > 0 {
		r := median(f.values[1])
		f.Reference = &r
		if r > 0 {
			ratio := f.Owl / r
			f.Ratio = &ratio
		}
	}
	hold := func(aim string, holds bool) { f.Aim, f.Holds = aim, &holds }
	switch {
	case f.none:
		hold("0", f.Owl == 0)
	case f.Limit != 0:
		hold(fmt.Sprintf("≤ %v %s", f.Limit, f.Unit), f.Owl <= f.Limit)
	case f.most != 0 && f.Ratio != nil:
		hold(fmt.Sprintf("≤ %v ×", f.most), *f.Ratio <= f.most)
	case f.least != 0 && f.Ratio != nil:
		hold(fmt.Sprintf("≥ %v ×", f.least), *f.Ratio >= f.least)
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	if n == 0 {
		return math.NaN()
	}
	return (v[(n-1)/2] + v[n/2]) / 2
}

// A report is a run, and on what it was made.
type report struct {
	Began      time.Time `json:"began"`
	Ended      time.Time `json:"ended"`
	Kernel     string    `json:"kernel"`
	Arch       string    `json:"arch"`
	Processors int       `json:"processors"`
	LoadBegan  string    `json:"load_began"` // of the last minute
	LoadEnded  string    `json:"load_ended"`
	Figures    []figure  `json:"figures"`
}

func newReport() *report {
	var u unix.Utsname
	_ = unix.Uname(&u) // what it does not say is empty
	return &report{
		Began:      time.Now().UTC().Truncate(time.Second),
		Kernel:     unix.ByteSliceToString(u.Release[:]),
		Arch:       runtime.GOARCH,
		Processors: runtime.NumCPU(),
		LoadBegan:  load(),
	}
}

func (r *report) end() {
	r.Ended, r.LoadEnded = time.Now().UTC().Truncate(time.Second), load()
}

// write writes the figures as a table.
func (r *report) write(w io.Writer) error {
	fmt.Fprintf(w, "%s, Linux %s, %s, %d processors, load %s before and %s after\n\n",
		r.Began.Format(time.DateTime+" UTC"), r.Kernel, r.Arch, r.Processors, r.LoadBegan, r.LoadEnded)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\t\towl\treference\towl / reference\taim\t")
	for _, f := range r.Figures {
		reference, ratio, aim := "", "", f.Aim
		if f.Reference != nil {
			reference = number(*f.Reference)
		}
		if f.Ratio != nil {
			ratio = number(*f.Ratio)
		}
		if f.Holds != nil && !*f.Holds {
			aim += " missed"
		}
		fmt.Fprintf(t, "%s\t%s\t%s %s\t%s\t%s\t%s\t\n", f.Section, f.Name, number(f.Owl), f.Unit, reference, ratio, aim)
	}
	return t.Flush()
}

// number returns v with three digits.
func number(v float64) string {
	if a := math.Abs(v); a >= 100 || a == 0 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func (r *report) writeJSON(name string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(text, '\n'), 0o666)
}
