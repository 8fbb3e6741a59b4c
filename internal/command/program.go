// Package command is how each of Owl's programs begins and ends: the version, the
// usage text, the signals that end it. It knows little, so that what runs for some
// milliseconds starts in one or two; what measures has more in internal/cli.
//
// Nothing here prints on its own; programs hand in their writers.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"owl/internal/getopt"
)

// Version is the release that the program was built from, as git describes it.
// The Makefile sets it when it links; a plain "go build" leaves "devel".
var Version = "devel"

// A Program is what all programs are to those who call them.
type Program struct {
	Name  string
	Usage string // what -h prints
}

// Main runs a program that SIGINT, SIGTERM and SIGHUP end, and exits with the
// code that run returns. After the first of them the next one has its usual
// effect, for what hangs; a SIGHUP that is ignored, as under nohup(1), stays so.
func Main(run func(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int) {
	ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		ends = append(ends, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends...)
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args, os.Getenv, os.Stdout, os.Stderr) //nolint:forbidigo // on behalf of cmd
	stop()
	os.Exit(code) //nolint:forbidigo // on behalf of cmd
}

// Refuse says on stderr in one line what is wrong with the command line, with
// the usage text after it if that helps, and returns the exit code.
func (p Program) Refuse(stderr io.Writer, err error) int {
	fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
	if _, ok := errors.AsType[*UsageError](err); ok {
		io.WriteString(stderr, p.Usage)
	}
	return 1
}

// A UsageError is a command line that is answered with the usage text.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

func (e *UsageError) Unwrap() error { return e.Err }

// Standard are the options of every program.
type Standard struct{ Help, Version bool }

// StandardLong are their long names; the letter is h.
var StandardLong = []getopt.Long{{Name: "help"}, {Name: "version"}}

// SetStandard takes one option over, and reports whether it is one of these.
func (s *Standard) SetStandard(name string) bool {
	switch name {
	case "h", "help":
		s.Help = true
	case "version":
		s.Version = true
	default:
		return false
	}
	return true
}

// Asked reports whether the program is only asked about itself.
func (s *Standard) Asked() bool { return s.Help || s.Version }

// Tell answers that on stdout, and returns the exit code.
func (p Program) Tell(s Standard, stdout io.Writer) int {
	if s.Help {
		io.WriteString(stdout, p.Usage)
	} else {
		fmt.Fprintf(stdout, "%s (Owl) %s\n", p.Name, Version)
	}
	return 0
}
