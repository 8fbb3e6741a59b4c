package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"owl/archive/api/serve"
	archivemetrics "owl/archive/metrics"
	"owl/archive/queue"
	"owl/archive/store"
	"owl/internal/manual"
	"owl/probe"
	"owl/probe/clock"
	"owl/probe/host"
	"owl/sessions"
	"owl/sessions/metrics"
)

// gather asks the programs what they take, and the metrics what they are. The
// function path tells where a program is.
func gather(path func(program string) string) (*manual.Facts, error) {
	f := &manual.Facts{Date: date, Usage: make(map[string]*manual.Usage), Lists: make(map[string][]manual.Item)}
	for _, name := range programs() {
		text, err := ask(path(name), "-h")
		if err != nil {
			return nil, err
		}
		u, err := manual.ParseUsage(text)
		if err != nil {
			return nil, err
		}
		nameHelp(u)
		f.Usage[name] = u
	}
	inForce, err := ask(path("owampd"), "-f", "--check")
	if err != nil {
		return nil, err
	}
	conf, limits, _ := strings.Cut(inForce, "\n\n")
	f.Lists["conf"] = confKeys(conf)
	f.Lists["limits"] = limitKeys(limits)
	f.Lists["metrics"], err = families()
	return f, err
}

// nameHelp adds the long name of -h where the help text, which has been asked for
// with either, does not tell of it.
func nameHelp(u *manual.Usage) {
	for _, g := range u.Groups {
		for i, o := range g.Options {
			if len(o.Forms) == 1 && o.Forms[0].Name == "-h" {
				g.Options[i].Forms = append(o.Forms, manual.Form{Name: "--help"})
			}
		}
	}
}

// ask returns what the program at path prints, which runs in an empty directory.
func ask(path string, args ...string) (string, error) {
	empty, err := os.MkdirTemp("", "owl-man-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(empty)
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Stderr = empty, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%v: %w", cmd, err)
	}
	return string(out), nil
}

// confKeys returns the keys of owamp-server.conf with their defaults, from lines
// such as "enddelay 1 # default" and, where there is none, "#user # default".
func confKeys(text string) []manual.Item {
	var items []manual.Item
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		switch slices.Index(words, "#") {
		case 1:
			items = append(items, key(strings.TrimPrefix(words[0], "#"), ""))
		case 2:
			items = append(items, key(words[0], words[1]))
		}
	}
	return items
}

// limitKeys returns the keys of owamp-server.limits with their defaults, from
// the line of a class that sets them all.
func limitKeys(text string) []manual.Item {
	var items []manual.Item
	for word := range strings.FieldsSeq(text) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(word, ","), "="); ok {
			items = append(items, key(name, value))
		}
	}
	return items
}

func key(name, byDefault string) manual.Item {
	i := manual.Item{Name: name, Term: "Cm " + name}
	if byDefault != "" {
		i.Term += ` Pq default: \&` + byDefault // which may be a dot
	}
	return i
}

// stamping is an engine of which everything is known.
type stamping struct{}

func (stamping) Transmit() probe.TransmitStats {
	return probe.TransmitStats{Gap: new(probe.Distribution), High: 1}
}

func (stamping) Stamps() probe.StampStats {
	return probe.StampStats{Cards: make([]probe.CardStats, 1)}
}

func (stamping) Slip() *probe.Distribution  { return new(probe.Distribution) }
func (stamping) Incidents() probe.Incidents { return probe.Incidents{} }

// families returns the families of metrics in the order of their names, each
// with its type, the labels that it has beside those of all, and its help text.
func families() ([]manual.Item, error) {
	reg := prometheus.NewRegistry()
	c, err := metrics.New(reg)
	if err != nil {
		return nil, err
	}
	seen := clock.State{Sources: []clock.Source{{Last: time.Unix(1, 0)}}}
	var sample host.Sample
	for c := range host.Counters() {
		sample.Set(c, 1)
	}
	sample.SetLoad(1)
	if err := metrics.Process(reg, stamping{}, func() clock.State { return seen }, func() host.Sample { return sample }); err != nil {
		return nil, err
	}
	// In this state every family has a value.
	known := sessions.Snapshot{LastPacket: time.Unix(1, 0), Measured: time.Second, Elapsed: time.Second}
	for _, direction := range []string{metrics.To, metrics.From} {
		s := c.Stream(metrics.Labels{Direction: direction}, func() sessions.Snapshot { return known })
		defer s.Close()
	}
	queued := func(context.Context) (queue.Stats, error) {
		l := queue.LineStats{Name: "a", Used: true, Queued: 1, Oldest: time.Unix(1, 0)}
		l.Dropped = map[string]uint64{queue.ReasonTTL: 1}
		return queue.Stats{Lines: []queue.LineStats{l}}, nil
	}
	if err := archivemetrics.Register(reg, queued, nil); err != nil {
		return nil, err
	}
	forget, err := showArchive(reg)
	if err != nil {
		return nil, err
	}
	defer forget()
	all, err := reg.Gather()
	var items []manual.Item
	for _, f := range all {
		var own []string
		for _, l := range f.Metric[0].Label {
			switch l.GetName() {
			case "source", "direction", "stream":
			case "destination":
				if strings.HasPrefix(f.GetName(), "owl_archive_") {
					own = append(own, l.GetName())
				}
			default:
				own = append(own, l.GetName())
			}
		}
		term := "Ic " + f.GetName()
		if own != nil {
			term += " Ns Bro Cm " + strings.Join(own, " , ") + " Brc"
		}
		term += " Pq " + strings.ToLower(f.GetType().String())
		items = append(items, manual.Item{Name: f.GetName(), Term: term, Text: f.GetHelp()})
	}
	return items, err
}

// showArchive registers the metrics of a measurement archive with nothing in it,
// which is there until it is forgotten.
func showArchive(reg *prometheus.Registry) (forget func(), err error) {
	dir, err := os.MkdirTemp("", "owl-man-")
	if err != nil {
		return nil, err
	}
	st, err := store.Open(context.Background(), filepath.Join(dir, "archive.db"), store.Options{})
	if err != nil {
		return nil, err
	}
	_, err = serve.New(st, serve.Options{Registry: reg})
	return func() {
		_ = st.Close() // nothing was written
		_ = os.RemoveAll(dir)
	}, err
}
