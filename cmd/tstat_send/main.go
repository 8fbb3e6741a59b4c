// Tstat_send reads the logs of tstat and sends what they tell of large flows to
// an archive, in JSON, as tstat_send of tstat-transport does.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"owl/archive/dest"
	"owl/archive/tstat"
	"owl/internal/cli"
	"owl/internal/command"
)

func main() {
	command.Main(func(ctx context.Context, args []string, _ func(string) string, stdout, stderr io.Writer) int {
		return run(ctx, args, os.LookupEnv, stdout, stderr)
	})
}

// Exit codes.
const (
	ok      = 0
	failure = 1 // not all that there is was sent
	usage   = 2 // the command line cannot be followed
)

// run is the program.
func run(ctx context.Context, args []string, getenv func(string) (string, bool), stdout, stderr io.Writer) int {
	o, err := parse(args[1:])
	if err != nil {
		fmt.Fprintf(stderr, "tstat_send: error: %v\n", err)
		return usage
	}
	if o.Asked() {
		return program.Tell(o.Standard, stdout)
	}
	level := slog.LevelInfo
	if o.verbose || o.debug {
		level = slog.LevelDebug
	}
	o.send.Log = cli.NewLogger(cli.LogConfig{Program: "tstat_send", Stderr: stderr, Level: level, NoPID: true})
	if err := o.run(ctx, getenv, stdout); err != nil {
		fmt.Fprintf(stderr, "tstat_send: %v\n", err)
		return failure
	}
	return ok
}

// run sends what is to be sent. SIGINT ends it behind the directory that it is
// at; other signals behind the slice that is on its way.
func (o *options) run(ctx context.Context, getenv func(string) (string, bool), stdout io.Writer) error {
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	finish := make(chan struct{})
	o.send.Finish = finish
	defer context.AfterFunc(ctx, func() {
		if cause := context.Cause(ctx); interrupted(cause) {
			o.send.Log.Info("interrupted: ending behind this directory")
			close(finish)
		} else {
			o.send.Log.Info("terminated: ending behind this slice")
			end(cause)
		}
	})()
	to, err := o.open(life, getenv, stdout)
	if err != nil {
		return cmp.Or(context.Cause(life), err)
	}
	total, err := tstat.Send(life, o.directory, to, &o.send)
	if e := to.Close(); err == nil {
		err = e
	}
	o.send.Log.Info("done", "directories", total.Directories, "failed", total.Failed, "busy", total.Busy,
		"slices", total.Slices, "flows", total.Flows, "lines", total.Lines, "unreadable", total.Unreadable)
	return err
}

// interrupted reports whether a signal is that of a user at a terminal.
func interrupted(cause error) bool {
	return strings.HasPrefix(cause.Error(), os.Interrupt.String())
}

// open reads the config and opens the transport. As in the original the config
// must be right for that even if nothing is sent.
func (o *options) open(ctx context.Context, getenv func(string) (string, bool), stdout io.Writer) (tstat.Transport, error) {
	config, err := tstat.ReadConfig(o.config, getenv)
	if err != nil {
		return nil, err
	}
	if o.verbose {
		o.send.Log.Debug("config", "", config)
	}
	connect := o.rabbit
	if o.transport != tstat.RabbitName {
		connect = o.archiver
	}
	to, err := connect(ctx, config)
	if err != nil || !o.dump {
		return to, err
	}
	o.send.Log.Warn("--no-transport: messages go to standard output, and directories are marked as processed all the same")
	return tstat.Dump(stdout), nil
}

// rabbit connects to the broker that the config tells of.
func (o *options) rabbit(ctx context.Context, config *tstat.Config) (tstat.Transport, error) {
	r, err := config.Rabbit()
	if err == nil {
		err = r.Resolve(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", o.config, err)
	}
	if len(r.Unknown) > 0 {
		o.send.Log.Warn("keys that say nothing", "config", o.config, "stanza", tstat.RabbitName, "keys", strings.Join(r.Unknown, " "))
	}
	if o.dump {
		return nil, nil
	}
	if r.Broker.TLS != nil && r.Broker.TLS.AnyCert {
		o.send.Log.Warn("nobody looks at the broker's certificate: ca_certs in [ssl_options] says whose to trust")
	}
	log := slog.New(slog.DiscardHandler)
	if o.debug {
		log = o.send.Log
	}
	return r.Connect(ctx, log)
}

// archiver opens the archiver that the config tells of.
func (o *options) archiver(_ context.Context, config *tstat.Config) (tstat.Transport, error) {
	s, err := config.Spec(o.transport)
	if err != nil {
		return nil, fmt.Errorf("config %s: %w", o.config, err)
	}
	to, err := tstat.Archiver(s, dest.Open)
	if err != nil {
		return nil, fmt.Errorf("config %s: [%s] %s", o.config, o.transport, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if o.dump {
		return nil, to.Close()
	}
	return to, nil
}
