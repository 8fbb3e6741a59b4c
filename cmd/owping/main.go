// Owping measures one-way latency once: it sends test packets to a host, has
// it send some back, and reports on both directions.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"owl/internal/cli"
)

func main() {
	ctx, early := signals()
	os.Exit(run(ctx, early, os.Args, os.Getenv, os.Stdout, os.Stderr))
}

// signals returns a channel that the first SIGINT, SIGTERM or SIGHUP closes,
// and a context that the second one ends.
func signals() (ctx context.Context, first <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	early := make(chan struct{})
	caught := make(chan os.Signal, 2)
	signal.Notify(caught, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-caught
		close(early)
		<-caught
		cancel()
	}()
	return ctx, early
}

// Exit codes.
const (
	ok          = 0
	failure     = 1
	interrupted = 2 // before there was anything to report
)

// errInterrupted says that a signal ended the program before its results.
var errInterrupted = errors.New("interrupted")

// run is the program. Early ends the test with what there is of it, ctx the
// program at once.
func run(ctx context.Context, early <-chan struct{}, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	o, err := parse(args[1:])
	if err != nil {
		return program.Refuse(stderr, err)
	}
	if o.Asked() {
		return program.Tell(o.Standard, stdout)
	}
	for _, note := range o.report.Settle() {
		fmt.Fprintf(stderr, "owping: %s\n", note)
	}
	p := &pinger{
		options: o,
		getenv:  getenv,
		stdout:  stdout,
		log:     cli.NewLogger(cli.LogConfig{Program: "owping", Stderr: stderr, NoPID: true}),
	}
	switch err := p.run(ctx, early); {
	case errors.Is(err, errInterrupted):
		p.log.Error(err.Error())
		return interrupted
	case err != nil:
		for line := range strings.SplitSeq(err.Error(), "\n") { // each thing that is wrong
			p.log.Error(line)
		}
		return failure
	case p.failed:
		return failure
	}
	return ok
}
