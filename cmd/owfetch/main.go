// Owfetch fetches the sessions that an OWAMP server has received, saves them to
// files and reports on them.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"

	"owl/internal/aside"
	"owl/internal/cli"
	"owl/internal/command"
	"owl/internal/getopt"
	"owl/internal/hostname"
	"owl/internal/report"
	"owl/owamp"
	"owl/owamp/control"
	"owl/sessions/fetch"
)

var program = command.Program{Name: "owfetch", Usage: `usage: owfetch [arguments] servaddr [SID savefile]+
[arguments] are as follows:

   -h             print this message and exit
   --version      print the version and exit

` + cli.ClientUsage + "\n" + fmt.Sprintf(report.Usage, "report nothing") + report.UsageJSON}

func main() {
	command.Main(run)
}

// run is the program.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	o, err := parse(args[1:])
	if err != nil {
		return program.Refuse(stderr, err)
	}
	if o.Asked() {
		return program.Tell(o.Standard, stdout)
	}
	for _, note := range o.report.Settle() {
		fmt.Fprintf(stderr, "owfetch: %s\n", note)
	}
	f := &fetcher{
		options:  o,
		log:      cli.NewLogger(cli.LogConfig{Program: "owfetch", Stderr: stderr, NoPID: true}),
		names:    hostname.NewCache(net.DefaultResolver, getenv("OWL_NUMERIC") == "1"),
		reporter: report.New(ctx, "owfetch", &o.report, stdout),
	}
	if !f.run(ctx) {
		return 1
	}
	return 0
}

// options are a command line.
type options struct {
	command.Standard
	conn     cli.ClientOptions
	report   report.Options
	server   string
	sessions []session
}

// A session is one to fetch, and where to save it.
type session struct {
	sid  owamp.SID
	path string
}

const letters = cli.ClientLetters + report.Letters + "hw"

var long = slices.Concat(cli.ClientLong, report.Long, command.StandardLong)

// parse reads a command line. Options may stand behind its operands, as GNU
// getopt has it for the reference.
func parse(args []string) (*options, error) {
	o := &options{}
	opts, rest, err := getopt.ParseMixed(args, letters, long)
	if err != nil {
		return nil, &command.UsageError{Err: err}
	}
	for _, opt := range opts {
		if err := o.set(opt.Name, opt.Value); err != nil {
			return nil, err
		}
	}
	if o.Asked() {
		return o, nil
	}
	if len(rest) < 3 || len(rest)%2 == 0 {
		return nil, &command.UsageError{Err: errors.New("want a servaddr, and pairs of a SID and a savefile after it")}
	}
	o.server = rest[0]
	for rest = rest[1:]; len(rest) > 0; rest = rest[2:] {
		sid, err := owamp.ParseSID(rest[0])
		if err != nil {
			return nil, err
		}
		o.sessions = append(o.sessions, session{sid, rest[1]})
	}
	return o, cmp.Or(o.conn.Validate(), o.report.Validate())
}

// set takes one option over.
func (o *options) set(name, value string) error {
	if ok, err := o.conn.Set(name, value); ok || err != nil {
		return err
	}
	if ok, err := o.report.Set(name, value); ok || err != nil {
		return err
	}
	o.SetStandard(name)
	return nil
}

// A fetcher fetches the sessions of its options.
type fetcher struct {
	*options
	log      *slog.Logger
	names    *hostname.Cache
	reporter *report.Reporter
}

// run fetches and reports on each session, and reports whether it could. One
// session that is not to be had does not keep the others away.
func (f *fetcher) run(ctx context.Context) bool {
	dialer, err := f.conn.Dialer(net.DefaultResolver, "", f.server)
	if err != nil {
		f.log.Error(err.Error())
		return false
	}
	cfg, err := f.conn.Config(ctx, f.log)
	if err != nil {
		f.log.Error(err.Error())
		return false
	}
	client, _, err := dialer.Connect(ctx, cfg)
	if err != nil {
		f.log.Error(err.Error())
		return false
	}
	defer client.Close()
	ok := true
	for _, s := range f.sessions {
		if err := f.fetch(ctx, client, s); err != nil {
			f.log.Error(err.Error())
			ok = false
		}
	}
	if err := f.reporter.Close(); err != nil {
		f.log.Error(err.Error())
		return false
	}
	return ok
}

// fetch saves one session, and reports on it.
func (f *fetcher) fetch(ctx context.Context, client *control.Client, s session) error {
	file, err := aside.Replace(s.path, "owfetch")
	if err != nil {
		return fmt.Errorf("Unable to fetch sid(%v): %w", s.sid, err) //nolint:staticcheck // the C suite's words
	}
	defer file.Close()
	if err := fetch.Whole(ctx, client, s.sid, file); err != nil {
		return fmt.Errorf("Unable to fetch sid(%v): %w", s.sid, err) //nolint:staticcheck // the C suite's words
	}
	if err := file.Commit(); err != nil {
		return err
	}
	if f.report.Quiet && !f.report.Raw {
		return nil
	}
	return errors.Join(f.reporter.File(s.path, f.names.Names), f.reporter.Flush())
}
