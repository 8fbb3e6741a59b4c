// Owampd answers OWAMP clients: it sends test packets to those who ask for them
// and records those that come.
package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"

	"owl/internal/cli"
	"owl/internal/command"
)

func main() {
	ctx, hangup, stop := cli.Signals(context.Background())
	code := run(ctx, hangup, os.Args, os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program. It ends with ctx; at a hangup it reads its files again.
func run(ctx context.Context, hangup <-chan struct{}, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	starter := findStarter(getenv)
	if starter != nil {
		stderr = starter
	}
	o, err := parse("", args[1:])
	if err != nil {
		return refuse(stderr, err)
	}
	switch {
	case o.Asked():
		return program.Tell(o.Standard, stdout)
	case o.check:
		return check(o, stdout, stderr)
	case !o.foreground && starter == nil:
		return detach(ctx, args, stderr)
	}
	level := new(slog.LevelVar)
	level.Set(o.logLevel())
	log := cli.NewLogger(cli.LogConfig{
		Program:  args[0],
		Stderr:   stderr,
		Facility: o.facility,
		Level:    level,
		Source:   o.location || o.verbose > 1,
	})
	d, err := start(ctx, o, log, getenv)
	if err != nil {
		log.Error(err.Error())
		return 1
	}
	defer d.close()
	again := reloader{d: d, args: args[1:], level: level, inForce: o}
	if starter != nil {
		if again.dir, err = starter.ready(); err != nil {
			log.Error(err.Error())
			return 1
		}
	}
	if err := d.serve(ctx, hangup, again.reload); err != nil {
		log.Error(err.Error())
		return 1
	}
	log.Info("owampd: exited.")
	return 0
}

// refuse says what is wrong with the arguments and the files, each thing in a
// line, and returns the exit code.
func refuse(stderr io.Writer, err error) (code int) {
	if _, ok := errors.AsType[*command.UsageError](err); ok {
		return program.Refuse(stderr, err)
	}
	for _, line := range apart(err) {
		code = program.Refuse(stderr, errors.New(line))
	}
	return code
}

// apart returns the texts of the errors that err joins, each of which is a line.
func apart(err error) []string { return strings.Split(err.Error(), "\n") }
