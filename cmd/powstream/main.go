// Powstream measures one-way latency continuously: OWAMP session after session
// without holes, each written to a file when it is complete.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"owl/internal/cli"
)

func main() {
	ctx, hangup, stop := cli.Signals(context.Background())
	code := run(ctx, hangup, os.Args, os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program. It ends with ctx, and begins anew at each hangup.
func run(ctx context.Context, hangup <-chan struct{}, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	o, err := parse(args[1:])
	if err != nil {
		return program.Refuse(stderr, err)
	}
	if o.Asked() {
		return program.Tell(o.Standard, stdout)
	}
	log := o.logger(args[0], stderr)
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	m, err := prepare(ctx, o, log, getenv, o.written(stdout, end))
	if err != nil {
		for line := range strings.SplitSeq(err.Error(), "\n") { // each thing that is wrong
			log.Error(line)
		}
		return 1
	}
	defer m.close()
	if o.check {
		fmt.Fprintf(stdout, "powstream: the arguments are right, and %s takes files\n", o.dir)
		return 0
	}
	m.run(ctx, hangup)
	cause := context.Cause(ctx)
	if _, ok := errors.AsType[*cli.SignalError](cause); ok {
		log.Info("SIGTERM/SIGINT Caught: Exiting.")
		return 0
	}
	log.Error(cause.Error())
	return 1
}
