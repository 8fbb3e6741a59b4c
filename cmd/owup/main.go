// Owup tells since when an OWAMP server has been up.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"time"

	"owl/internal/cli"
	"owl/internal/command"
	"owl/internal/getopt"
)

var program = command.Program{Name: "owup", Usage: `usage: owup [arguments] servaddr
[arguments] are as follows:

   -h             print this message and exit
   --version      print the version and exit

` + cli.ClientUsage}

func main() {
	command.Main(run)
}

// run is the program.
func run(ctx context.Context, args []string, _ func(string) string, stdout, stderr io.Writer) int {
	o, err := parse(args[1:])
	if err != nil {
		return program.Refuse(stderr, err)
	}
	if o.Asked() {
		return program.Tell(o.Standard, stdout)
	}
	since, err := o.ask(ctx, cli.NewLogger(cli.LogConfig{Program: "owup", Stderr: stderr, NoPID: true}))
	if err != nil {
		fmt.Fprintf(stderr, "owup: %v\n", err)
		return 1
	}
	// To stderr, and without a space before the zone: so does the reference.
	fmt.Fprintf(stderr, "Server Up Since: %s\n", since.Format("2006-01-02T15:04:05.000MST"))
	return 0
}

// options are a command line.
type options struct {
	command.Standard
	conn   cli.ClientOptions
	server string
}

const letters = cli.ClientLetters + "hw"

var long = slices.Concat(cli.ClientLong, command.StandardLong)

// parse reads a command line.
func parse(args []string) (*options, error) {
	o := &options{}
	opts, rest, err := getopt.ParseMixed(args, letters, long)
	if err != nil {
		return nil, &command.UsageError{Err: err}
	}
	for _, opt := range opts {
		if o.SetStandard(opt.Name) {
			continue
		}
		if _, err := o.conn.Set(opt.Name, opt.Value); err != nil {
			return nil, err
		}
	}
	if o.Asked() {
		return o, nil
	}
	if len(rest) != 1 {
		return nil, &command.UsageError{Err: errors.New("want one servaddr")}
	}
	o.server = rest[0]
	return o, o.conn.Validate()
}

// ask asks the server since when it has been up.
func (o *options) ask(ctx context.Context, log *slog.Logger) (time.Time, error) {
	dialer, err := o.conn.Dialer(net.DefaultResolver, "", o.server)
	if err != nil {
		return time.Time{}, err
	}
	cfg, err := o.conn.Config(ctx, log)
	if err != nil {
		return time.Time{}, err
	}
	client, _, err := dialer.Connect(ctx, cfg)
	if err != nil {
		return time.Time{}, err
	}
	defer client.Close()
	return client.ServerStart().Time().Local(), nil
}
