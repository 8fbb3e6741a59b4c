package main

import (
	"image/color"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// The suites' colours, which those can tell apart who see few.
var (
	owlColour       = color.RGBA{0x00, 0x5f, 0x9e, 0xff}
	referenceColour = color.RGBA{0xd5, 0x5e, 0x00, 0xff}
)

// draw draws the ladder of delays: least, median and 99th percentile of each
// suite over the rate.
func (r *report) draw(name string) error {
	p := plot.New()
	p.Title.Text = "One-way delay over loopback: what each suite adds to a network"
	p.X.Label.Text, p.Y.Label.Text = "packets/s", "delay (µs)"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
	p.Legend.Top = true
	p.Add(plotter.NewGrid())
	for _, q := range []struct {
		suffix string
		dashes []vg.Length
	}{{"least", []vg.Length{1, 3}}, {"median", nil}, {"p99", []vg.Length{6, 3}}} {
		var points [2]plotter.XYs
		for _, f := range r.Figures {
			if f.rate == 0 || !strings.HasSuffix(f.Name, " "+q.suffix) {
				continue
			}
			points[0] = append(points[0], plotter.XY{X: float64(f.rate), Y: f.Owl})
			if f.Reference != nil {
				points[1] = append(points[1], plotter.XY{X: float64(f.rate), Y: *f.Reference})
			}
		}
		for i, suite := range []string{"owl", "reference"} {
			// A scale of logarithms has no room for what is not above 0.
			line := slices.DeleteFunc(points[i], func(at plotter.XY) bool { return at.Y <= 0 })
			if len(line) == 0 {
				continue
			}
			l, marks, err := plotter.NewLinePoints(line)
			if err != nil {
				return err
			}
			l.Color, marks.Color = owlColour, owlColour
			if i == 1 {
				l.Color, marks.Color = referenceColour, referenceColour
			}
			l.Width, l.Dashes = vg.Points(1.5), q.dashes
			p.Add(l, marks)
			p.Legend.Add(suite+", "+q.suffix, l, marks)
		}
	}
	return p.Save(18*vg.Centimeter, 12*vg.Centimeter, name)
}
