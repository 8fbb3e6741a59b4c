// Owagent is Owl's measurement agent: one process with the streams of one file,
// and a server and a measurement archive if that wants them. Its demo shows what Owl does, on loopback and
// without a file.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"slices"
	"strconv"

	"owl/cmd/internal/archiving"
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
   queue          show the results that wait for archives, or do something to them:
                  list, show ID, retry, drop or replay, the last three with IDs or
                  with options that choose
   archive        bring the results in the FILEs behind it, documents of pScheduler,
                  to archives; - is the standard input
   check-archiving  bring one test result to each archive of the file, or of
                  --archive, and say what happened
   demo           measure one-way latency on loopback, archive it and show it, until
                  Ctrl-C or for DEMO_SECONDS seconds

   --all          of queue drop: all results of all archives
   --archive SPEC of archive and check-archiving: an archive specification of
                  pScheduler in JSON, an array of them, or @FILE that holds one;
                  may be given more than once
   --config FILE  of run and check-archiving: the file (default
                  /etc/owl/owagent.yaml)
   --default-archives DIR
                  of archive and check-archiving: also the archives of the files
                  in DIR
   --destination NAME
                  of queue: results for this archive alone
   --host NAME    of run, check and check-archiving: how this host is called,
                  unless the file says so (default: its host name)
   --json         of status and queue: print a JSON document
   --limit N      of queue list: show at most N results (default 50)
   --queue FILE   of queue: this file, which no running agent has open; of archive:
                  where results wait (default .owl-queue.db)
   --since TIME   of queue: results that have come since, as 2026-11-21T10:00:00Z
                  or, so long ago, 90m
   --socket PATH  of run, reload, status and queue: where the running agent is
                  asked (default /run/owl/owagent.sock)
   --state STATE  of queue: results that are queued, waiting or dead
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
	{Name: "all"},
	{Name: "archive", Arg: true},
	{Name: "config", Arg: true},
	{Name: "default-archives", Arg: true},
	{Name: "destination", Arg: true},
	{Name: "host", Arg: true},
	{Name: "json"},
	{Name: "limit", Arg: true},
	{Name: "queue", Arg: true},
	{Name: "since", Arg: true},
	{Name: "socket", Arg: true},
	{Name: "state", Arg: true},
	{Name: "stream", Arg: true},
}, command.StandardLong)

// options are a command line.
type options struct {
	command  string
	operands []string
	config   string
	host     string
	socket   string
	stream   string // pattern of names; empty: all
	json     bool
	verbose  bool

	archiving   archiving.Options // of archive and check-archiving
	queue       string            // file; empty: the agent's
	destination string
	state       string
	since       string
	limit       int // 0: nobody has said
	all         bool
}

// takes has the options and the operands of each command.
var takes = map[string]struct {
	options     []string
	least, most int // operands
	want        string
}{
	"run":             {options: []string{"config", "host", "socket", "v"}},
	"check":           {options: []string{"host"}, least: 1, most: 1, want: "a file"},
	"reload":          {options: []string{"socket"}},
	"status":          {options: []string{"socket", "stream", "json"}},
	"queue":           {options: []string{"all", "destination", "json", "limit", "queue", "since", "socket", "state"}, least: 1, most: 1001, want: "list, show, retry, drop or replay"},
	"archive":         {options: []string{"archive", "default-archives", "queue", "v"}, least: 1, most: math.MaxInt, want: "files of results, or -"},
	"check-archiving": {options: []string{"archive", "config", "default-archives", "host"}},
	"demo":            {},
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
	case "queue":
		err = askQueue(ctx, o, stdout)
	case "archive":
		err = archiveFiles(ctx, o, o.logger(stderr), os.Stdin, stdout)
	case "check-archiving":
		err = checkArchiving(ctx, o, stdout)
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
		return nil, asked, fmt.Errorf("command %q: want run, check, reload, status, queue, archive, check-archiving or demo", o.command)
	case len(rest) < can.least:
		return nil, asked, fmt.Errorf("%s: want %s", o.command, can.want)
	case len(rest) > can.most:
		return nil, asked, fmt.Errorf("%s: %q: want no more arguments", o.command, rest[can.most])
	}
	o.operands = rest
	for _, opt := range opts {
		if !slices.Contains(can.options, opt.Name) {
			return nil, asked, fmt.Errorf("%s: option %s: want none of another command", o.command, dashed(opt.Name))
		}
		if opt.Value == "" && !slices.Contains([]string{"v", "json", "all"}, opt.Name) {
			return nil, asked, fmt.Errorf("option --%s: want a value", opt.Name)
		}
		if err := o.set(opt.Name, opt.Value); err != nil {
			return nil, asked, err
		}
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
func (o *options) set(name, value string) (err error) {
	switch name {
	case "all":
		o.all = true
	case "archive", "default-archives":
		_, err = o.archiving.Set(name, value)
	case "destination":
		o.destination = value
	case "limit":
		if o.limit, err = strconv.Atoi(value); err != nil || o.limit < 1 {
			err = fmt.Errorf("option --limit: %q: want a number from 1", value)
		}
	case "queue":
		o.queue = value
	case "since":
		o.since = value
	case "state":
		o.state = value
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
	return err
}

// logger returns the logger of what goes on for a while.
func (o *options) logger(stderr io.Writer) *slog.Logger {
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	return cli.NewLogger(cli.LogConfig{Program: program.Name, Stderr: stderr, Level: level})
}

// hostName returns how this host is called unless its file says so.
func (o *options) hostName() (string, error) {
	if o.host != "" {
		return o.host, nil
	}
	return os.Hostname()
}
