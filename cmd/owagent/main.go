// Owagent is Owl's measurement agent: one process with the streams of one file,
// and a server if that wants one. Its demo shows what Owl does, on loopback and
// without a file.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"owl/internal/cli"
	"owl/internal/command"
	"owl/internal/getopt"
)

var program = command.Program{Name: "owagent", Usage: `usage: owagent command [FILE] [arguments]

   run            measure what a file says, until SIGTERM or Ctrl-C
   check          say what the FILE behind it has measured, or all that is wrong
                  with it, and start nothing
   reload         have the running agent read its file again; SIGHUP does, too
   status         show what the running agent measures: of more than 50 streams
                  those that are worst off
   demo           measure one-way latency on loopback and show it, until Ctrl-C or
                  for DEMO_SECONDS seconds

   --config FILE  of run: its file (default /etc/owl/owagent.yaml)
   --host NAME    of run and check: how this host is called, unless the file says
                  so (default: its host name)
   --json         of status: print a JSON document
   --socket PATH  of run, reload and status: where the running agent is asked
                  (default /run/owl/owagent.sock)
   --stream NAME  of status: streams of that name alone; *, ? and [ ] stand for
                  any characters, for one, and for a choice
   -v             of run: messages of level debug, too
   -h, --help     print this message
   --version      print the version
`}

const (
	defaultConfig = "/etc/owl/owagent.yaml"
	defaultSocket = "/run/owl/owagent.sock"
)

const letters = "hv"

var long = slices.Concat([]getopt.Long{
	{Name: "config", Arg: true},
	{Name: "host", Arg: true},
	{Name: "json"},
	{Name: "socket", Arg: true},
	{Name: "stream", Arg: true},
}, command.StandardLong)

// options are a command line.
type options struct {
	command string
	file    string // of check
	config  string
	host    string
	socket  string
	stream  string // pattern of names; empty: all
	json    bool
	verbose bool
}

// takes has the options and the operands of each command.
var takes = map[string]struct {
	options  []string
	operands int
}{
	"run":    {options: []string{"config", "host", "socket", "v"}},
	"check":  {options: []string{"host"}, operands: 1},
	"reload": {options: []string{"socket"}},
	"status": {options: []string{"socket", "stream", "json"}},
	"demo":   {},
}

func main() {
	ctx, hangup, stop := cli.Signals(context.Background())
	code := run(ctx, hangup, os.Args, os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program.
func run(ctx context.Context, hangup <-chan struct{}, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	o, asked, err := parse(args[1:])
	switch {
	case err != nil:
		return program.Refuse(stderr, &command.UsageError{Err: err})
	case asked.Asked():
		return program.Tell(asked, stdout)
	}
	switch o.command {
	case "run":
		err = measure(ctx, hangup, o, getenv, stderr)
	case "check":
		err = check(o, stdout)
	case "reload":
		err = askReload(ctx, o.socket, stdout)
	case "status":
		err = askStatus(ctx, o.socket, o.stream, o.json, stdout)
	case "demo":
		err = demo(ctx, getenv, stdout, stderr)
	}
	if err != nil {
		return refuse(stderr, err)
	}
	return 0
}

// refuse says what is wrong, each thing in a line, and returns the exit code.
func refuse(stderr io.Writer, err error) (code int) {
	for _, e := range apart(err) {
		code = program.Refuse(stderr, e)
	}
	return code
}

// apart returns the errors that err joins.
func apart(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, apart(e)...)
	}
	return all
}

// parse reads a command line. Options may stand before the command and behind
// it.
func parse(args []string) (*options, command.Standard, error) {
	o := &options{config: defaultConfig, socket: defaultSocket}
	var asked command.Standard
	opts, rest, err := getopt.ParseMixed(args, letters, long)
	if err != nil {
		return nil, asked, err
	}
	for _, opt := range opts {
		asked.SetStandard(opt.Name)
	}
	if asked.Asked() {
		return nil, asked, nil
	}
	if len(rest) == 0 {
		return nil, asked, errors.New("want a command")
	}
	o.command, rest = rest[0], rest[1:]
	can, known := takes[o.command]
	switch {
	case !known:
		return nil, asked, fmt.Errorf("command %q: want run, check, reload, status or demo", o.command)
	case len(rest) < can.operands:
		return nil, asked, fmt.Errorf("%s: want a file", o.command)
	case len(rest) > can.operands:
		return nil, asked, fmt.Errorf("%s: %q: want no more arguments", o.command, rest[can.operands])
	case can.operands == 1:
		o.file = rest[0]
	}
	for _, opt := range opts {
		if !slices.Contains(can.options, opt.Name) {
			return nil, asked, fmt.Errorf("%s: option %s: want none of another command", o.command, dashed(opt.Name))
		}
		if opt.Value == "" && opt.Name != "v" && opt.Name != "json" {
			return nil, asked, fmt.Errorf("option --%s: want a value", opt.Name)
		}
		o.set(opt.Name, opt.Value)
	}
	return o, asked, nil
}

// dashed returns an option as it is written.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// set takes over one option.
func (o *options) set(name, value string) {
	switch name {
	case "config":
		o.config = value
	case "host":
		o.host = value
	case "json":
		o.json = true
	case "socket":
		o.socket = value
	case "stream":
		o.stream = value
	case "v":
		o.verbose = true
	}
}

// hostName returns how this host is called unless its file says so.
func (o *options) hostName() (string, error) {
	if o.host != "" {
		return o.host, nil
	}
	return os.Hostname()
}
