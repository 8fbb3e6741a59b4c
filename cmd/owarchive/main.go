// Owarchive is a measurement archive: it takes what measurements find, keeps it,
// and gives it back, over esmond's REST interface and on a page.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"owl/archive/api/serve"
	"owl/internal/cli"
	"owl/internal/command"
	"owl/internal/getopt"
)

var program = command.Program{Name: "owarchive", Usage: `usage: owarchive --store STORE [command] [arguments]

Without a command it serves the archive until SIGTERM or Ctrl-C.

   key            who may write: add NAME prints a new key, which is shown this once;
                  list shows all names, revoke NAME has a key end at once
   export         write all there is as JSON lines, to a FILE or to the standard
                  output
   import         take in what export has written (FILEs; - is the standard input),
                  what another esmond has (a URL, such as
                  https://host/esmond/perfsonar/archive/) and what powstream has
                  written (a DIR of .owp files); again, too, which changes nothing
   backup         write a copy of a STORE that is a file to a new FILE, while others
                  use it
   forecast       say what the archive takes and when the disk is full
   prune          remove what --retention does not keep, now
   check          say whether the archive is well, and what is in it

   --store STORE  the archive: a file, which is made if there is none, or
                  postgres://USER@HOST/DATABASE; @FILE is a file that holds one of
                  these (required)

  Serving:
   --listen ADDR  HOST:PORT, or :PORT for all addresses (default 127.0.0.1:8861)
   --tls-cert FILE
                  speak TLS with this certificate, in PEM, those that signed it
                  behind it; SIGHUP has it read again
   --tls-key FILE the key of the certificate (default: in the same file)
   --allow-write NETWORK
                  who asks from there needs no key to write: an address or
                  ADDRESS/LENGTH; may be given more than once
   --trust-proxy NETWORK
                  believe these proxies for whom they ask (X-Forwarded-For and
                  X-Forwarded-Proto); may be given more than once
   --cors ORIGIN  let pages of this origin, as https://dashboard.example.net, use the
                  archive from a browser; * stands for all; may be given more than
                  once
   --max-connections N
                  how many there may be at once (default 1000)
   --access-log FILE
                  a line for each request; - is the standard error; SIGHUP has the
                  file opened anew
   --retention RULES
                  what is kept for how long, such as
                  histogram-owdelay/base=90d,*/base=1y,*=forever, or @FILE with such
                  rules, which SIGHUP has read again (default: everything, for ever);
                  also of prune and forecast

  Commands:
   --source NAME  of import: how the host was called that has sent what is in a DIR
                  (default: its address)
   --destination NAME
                  of import: the same of the host that has received it
   --agent NAME   of import: the host that has measured what is in a DIR (default:
                  the one of the two that its files were made at)
   --json         of key list, forecast and check: print a JSON document
   -v             messages of level debug, too
   -h, --help     print this message
   --version      print the version
`}

const letters = "hv"

var long = slices.Concat([]getopt.Long{
	{Name: "access-log", Arg: true},
	{Name: "agent", Arg: true},
	{Name: "allow-write", Arg: true},
	{Name: "cors", Arg: true},
	{Name: "destination", Arg: true},
	{Name: "json"},
	{Name: "listen", Arg: true},
	{Name: "max-connections", Arg: true},
	{Name: "retention", Arg: true},
	{Name: "source", Arg: true},
	{Name: "store", Arg: true},
	{Name: "tls-cert", Arg: true},
	{Name: "tls-key", Arg: true},
	{Name: "trust-proxy", Arg: true},
}, command.StandardLong)

// defaultListen is reached by this host alone: an archive that others write to is
// one that somebody has meant to be.
const defaultListen = "127.0.0.1:8861"

// options are a command line.
type options struct {
	command  string // empty: serve
	operands []string
	store    string // as it was given
	json     bool
	verbose  bool

	listen      string
	cert, key   string
	allow       []netip.Prefix
	proxies     []netip.Prefix
	origins     []string
	connections int
	access      string // file; empty: nobody wants it
	retention   string // rules, or @FILE

	tree treeOptions // of import
}

// takes has the options of each command, beside those of all, and its operands.
var takes = map[string]struct {
	options     []string
	least, most int // operands
	want        string
}{
	"":         {options: []string{"access-log", "allow-write", "cors", "listen", "max-connections", "retention", "tls-cert", "tls-key", "trust-proxy"}},
	"key":      {options: []string{"json"}, least: 1, most: 2, want: "add NAME, list or revoke NAME"},
	"export":   {most: 1},
	"import":   {options: []string{"agent", "destination", "source"}, least: 1, most: math.MaxInt, want: "files, a URL or a directory"},
	"backup":   {least: 1, most: 1, want: "a file that is not there yet"},
	"forecast": {options: []string{"json", "retention"}},
	"prune":    {options: []string{"retention"}},
	"check":    {options: []string{"json"}},
}

func main() {
	ctx, hangup, stop := cli.Signals(context.Background())
	code := run(ctx, hangup, os.Args, os.Getenv, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program.
func run(ctx context.Context, hangup <-chan struct{}, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	o, asked, err := parse(args[1:])
	switch {
	case err != nil:
		return program.Refuse(stderr, &command.UsageError{Err: err})
	case asked.Asked():
		return program.Tell(asked, stdout)
	}
	cli.SaveMemory(getenv)
	log := o.logger(stderr)
	switch o.command {
	case "":
		err = o.serve(ctx, hangup, log, stderr)
	case "key":
		err = o.keys(ctx, log, stdout, stderr)
	case "export":
		err = o.export(ctx, log, stdout)
	case "import":
		err = o.importAll(ctx, log, stdin, stdout, stderr)
	case "backup":
		err = o.backup(ctx, log, stdout)
	case "forecast":
		err = o.forecast(ctx, log, stdout)
	case "prune":
		err = o.prune(ctx, log, stdout)
	case "check":
		err = o.check(ctx, log, stdout)
	}
	if err != nil {
		if signal, ok := errors.AsType[*cli.SignalError](context.Cause(ctx)); ok && errors.Is(err, context.Canceled) {
			err = signal
		}
		return program.Refuse(stderr, err)
	}
	return 0
}

// parse reads a command line. Options may stand before the command and behind
// it.
func parse(args []string) (*options, command.Standard, error) {
	o := &options{listen: defaultListen}
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
	if len(rest) > 0 {
		o.command, o.operands = rest[0], rest[1:]
	}
	can, known := takes[o.command]
	switch {
	case !known || len(rest) > 0 && rest[0] == "":
		return nil, asked, fmt.Errorf("command %q: want key, export, import, backup, forecast, prune or check, or none to serve", o.command)
	case len(o.operands) < can.least:
		return nil, asked, fmt.Errorf("%s: want %s", o.command, can.want)
	case len(o.operands) > can.most:
		return nil, asked, fmt.Errorf("%s: %q: want no more arguments", o.command, o.operands[can.most])
	}
	for _, opt := range opts {
		if opt.Name != "store" && opt.Name != "v" && !slices.Contains(can.options, opt.Name) {
			return nil, asked, fmt.Errorf("%s: want none with %s", dashed(opt.Name), o.doing())
		}
		if err := o.set(opt.Name, opt.Value); err != nil {
			return nil, asked, fmt.Errorf("%s: %w", dashed(opt.Name), err)
		}
	}
	return o, asked, o.validate()
}

// doing names the command for people.
func (o *options) doing() string {
	if o.command == "" {
		return "serving"
	}
	return o.command
}

// dashed returns an option as it is written.
func dashed(name string) string {
	if len(name) == 1 {
		return "option -" + name
	}
	return "option --" + name
}

// set takes over one option.
func (o *options) set(name, value string) (err error) {
	switch name {
	case "json":
		o.json = true
		return nil
	case "v":
		o.verbose = true
		return nil
	}
	if value == "" {
		return errors.New("want a value")
	}
	switch name {
	case "access-log":
		o.access = value
	case "agent":
		o.tree.Agent = value
	case "allow-write":
		o.allow, err = appendNetwork(o.allow, value)
	case "cors":
		err = serve.CheckOrigin(value)
		o.origins = append(o.origins, value)
	case "destination":
		o.tree.Destination = value
	case "listen":
		o.listen = value
	case "max-connections":
		if o.connections, err = strconv.Atoi(value); err != nil || o.connections < 1 || o.connections > 1_000_000 {
			err = fmt.Errorf("%q: want a number from 1 to 1000000", value)
		}
	case "retention":
		o.retention = value
	case "source":
		o.tree.Source = value
	case "store":
		o.store = value
	case "tls-cert":
		o.cert = value
	case "tls-key":
		o.key = value
	case "trust-proxy":
		o.proxies, err = appendNetwork(o.proxies, value)
	}
	return err
}

// validate finds what is wrong with options that are each right.
func (o *options) validate() error {
	switch {
	case o.store == "":
		return errors.New("want --store: a file, or postgres://USER@HOST/DATABASE")
	case o.key != "" && o.cert == "":
		return errors.New("option --tls-key: want --tls-cert, too")
	case o.command == "prune" && o.retention == "":
		return errors.New("prune: want --retention, which says what is kept")
	}
	return nil
}

// appendNetwork appends the network that s is: one address, or those that begin as
// one.
func appendNetwork(all []netip.Prefix, s string) ([]netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, e := netip.ParseAddr(s)
		if e != nil || a.Zone() != "" {
			return nil, fmt.Errorf("%q: want an address or ADDRESS/LENGTH", s)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	return append(all, p.Masked()), nil
}

// logger returns the logger of what goes on.
func (o *options) logger(stderr io.Writer) *slog.Logger {
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	return cli.NewLogger(cli.LogConfig{Program: program.Name, Stderr: stderr, Level: level})
}
