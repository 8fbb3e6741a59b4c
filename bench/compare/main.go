// Compare runs Owl's programs and those of a reference suite side by side, on
// this machine and in one run, and says how they compare: one-way delay over
// loopback at a ladder of rates, the cost of a packet and of a stream, and how
// fast each reads its files.
//
//	go run ./bench/compare -reference /usr/bin -json compare.json -plot compare.svg
//
// Figures of one run are comparable with each other and with nothing else: a
// busy machine makes both suites slower, and not by the same factor. So the load
// of the machine stands beside them, and the suites take turns.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"owl/bench/internal/tool"
)

func main() { tool.Main("compare", run) }

// options are what the command line says.
type options struct {
	owl, reference string // directories of programs
	json, plot     string // files; empty: none
	only           *regexp.Regexp
	seconds        int
	rounds         int
	streams        int
}

func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("compare", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.reference, "reference", os.Getenv("OWAMP_REFERENCE_DIR"), "`directory` of the reference suite's programs; empty: only Owl is measured")
	fs.StringVar(&o.owl, "owl", "", "`directory` of Owl's programs; empty: they are built")
	fs.StringVar(&o.json, "json", "", "write the figures to `file` as JSON")
	fs.StringVar(&o.plot, "plot", "", "draw the ladder of delays into `file`, a .svg or .png")
	only := fs.String("only", "", "measure only what this `regexp` matches: "+names())
	fs.IntVar(&o.seconds, "seconds", 5, "how long each rate of the ladder is measured")
	fs.IntVar(&o.rounds, "rounds", 3, "how often the suites take turns at each rate and file; the median counts")
	fs.IntVar(&o.streams, "streams", 20, "how many streams run at once for the cost of one")
	if err := fs.Parse(args); err != nil {
		return nil, flag.ErrHelp // which it has told of
	}
	var err error
	switch {
	case fs.NArg() > 0:
		return nil, fmt.Errorf("argument %q: want options only", fs.Arg(0))
	case o.seconds < 1 || o.rounds < 1 || o.streams < 1:
		return nil, errors.New("-seconds, -rounds and -streams: want at least 1")
	}
	if o.only, err = regexp.Compile(*only); err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	if o.reference != "" {
		for _, program := range []string{"owampd", "powstream", "owstats"} {
			if _, err := exec.LookPath(filepath.Join(o.reference, program)); err != nil {
				return nil, fmt.Errorf("-reference: %w", err)
			}
		}
	}
	if ext := filepath.Ext(o.plot); o.plot != "" && ext != ".svg" && ext != ".png" {
		return nil, fmt.Errorf("-plot %q: want a file whose name ends in .svg or .png", o.plot)
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "compare-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	if o.owl == "" {
		o.owl = filepath.Join(scratch, "bin")
		if err := build(ctx, o.owl); err != nil {
			return err
		}
	}
	b := &bench{options: o, scratch: scratch, progress: stderr, owl: suite{Name: "owl", Dir: o.owl}}
	if o.reference != "" {
		b.reference = &suite{Name: "reference", Dir: o.reference}
	}
	report := newReport()
	var failed error
	for _, s := range sections {
		if !o.only.MatchString(s.name) {
			continue
		}
		fmt.Fprintf(stderr, "%s: %s\n", time.Now().Format(time.TimeOnly), s.name)
		figures, err := s.measure(ctx, b)
		if err != nil { // what others have measured is still worth something
			failed = errors.Join(failed, fmt.Errorf("%s: %w", s.name, err))
		}
		report.Figures = append(report.Figures, figures...)
		if ctx.Err() != nil {
			break
		}
	}
	report.end()
	if err := report.write(stdout); err != nil {
		return err
	}
	if o.json != "" {
		failed = errors.Join(failed, report.writeJSON(o.json))
	}
	if o.plot != "" {
		failed = errors.Join(failed, report.draw(o.plot))
	}
	return failed
}

// build builds Owl's programs.
func build(ctx context.Context, dir string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir+"/", "owl/cmd/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building Owl: %w\n%s", err, out)
	}
	return nil
}
