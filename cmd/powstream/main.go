// Powstream measures one-way latency continuously: OWAMP session after session
// without holes, each written to a file when it is complete.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

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
		return refuse(args[0], o, err, stderr)
	}
	switch {
	case o.help:
		io.WriteString(stdout, usage)
		return 0
	case o.version:
		fmt.Fprintf(stdout, "powstream (Owl) %s\n", cli.Version)
		return 0
	}
	log := o.logger(args[0], stderr)
	m, err := prepare(ctx, o, log, getenv, stdout)
	if err != nil {
		log.Error(err.Error())
		return 1
	}
	defer m.close()
	if o.check {
		fmt.Fprintln(stdout, "powstream: the arguments are right")
		return 0
	}
	m.run(ctx, hangup)
	if _, ok := errors.AsType[*cli.SignalError](context.Cause(ctx)); ok {
		log.Info("SIGTERM/SIGINT Caught: Exiting.")
	}
	return 0
}

// refuse says in one line, and with the usage text where that helps, what is
// wrong with the arguments.
func refuse(program string, o *options, err error, stderr io.Writer) int {
	if logged, ok := errors.AsType[loggedError](err); ok {
		o.logger(program, stderr).Error(logged.Error())
	} else {
		fmt.Fprintf(stderr, "powstream: %v\n", err)
	}
	if _, ok := errors.AsType[usageError](err); ok {
		io.WriteString(stderr, usage)
	}
	return 1
}
