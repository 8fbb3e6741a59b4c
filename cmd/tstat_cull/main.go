// Tstat_cull removes directories of tstat that tstat_send has processed, when
// they have been so for long enough, as tstat_cull of tstat-transport does.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"strings"
	"time"

	"owl/archive/tstat"
	"owl/internal/argparse"
	"owl/internal/cli"
	"owl/internal/command"
)

var program = command.Program{Name: "tstat_cull", Usage: `usage: tstat_cull -d DIR [arguments]
[arguments] are as follows:

   -h | --help    print this message and exit
   --version      print the version and exit
   -d DIR | --directory DIR
                  root of the directories that tstat writes; has no default
   -t HOURS | --ttl HOURS
                  remove what has been processed for so many hours (48)
   -D | --dry-run
                  say what would be removed, and remove nothing
   -v | --verbose
                  also say what is kept
`}

// taken are the options.
var taken = argparse.Options{
	{Letter: "h", Name: "help"},
	{Name: "version", Whole: true},
	{Letter: "d", Name: "directory", Arg: true},
	{Letter: "t", Name: "ttl", Arg: true},
	{Letter: "D", Name: "dry-run"},
	{Letter: "v", Name: "verbose"},
}

func main() {
	command.Main(run)
}

// Exit codes.
const (
	ok      = 0
	failure = 1 // something that is to go is still there
	usage   = 2 // the command line cannot be followed
)

// run is the program.
func run(ctx context.Context, args []string, _ func(string) string, stdout, stderr io.Writer) int {
	o, err := parse(args[1:])
	if err != nil {
		fmt.Fprintf(stderr, "tstat_cull: error: %v\n", err)
		return usage
	}
	if o.Asked() {
		return program.Tell(o.Standard, stdout)
	}
	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	o.cull.Log = cli.NewLogger(cli.LogConfig{Program: "tstat_cull", Stderr: stderr, Level: level, NoPID: true})
	o.cull.Now = time.Now()
	if _, err := tstat.Cull(ctx, o.directory, &o.cull); err != nil {
		fmt.Fprintf(stderr, "tstat_cull: %v\n", err)
		return failure
	}
	return ok
}

// options are what the command line asks for.
type options struct {
	command.Standard
	directory string
	cull      tstat.CullOptions
	verbose   bool
}

// parse reads a command line, and looks whether the directory is there.
func parse(args []string) (*options, error) {
	o := &options{cull: tstat.CullOptions{TTL: 48 * time.Hour}}
	given, others, wrong := taken.Parse(args)
	for _, g := range given {
		switch g.Name {
		case "directory":
			o.directory = g.Value
		case "ttl":
			hours, err := taken.Int(g)
			if err != nil {
				return nil, err
			}
			const most = math.MaxInt64 / int64(time.Hour)
			o.cull.TTL = time.Duration(min(max(hours, -most), most)) * time.Hour
		case "dry-run":
			o.cull.DryRun = true
		case "verbose":
			o.verbose = true
		default:
			o.SetStandard(g.Name)
		}
		if o.Asked() {
			return o, nil
		}
	}
	if wrong != nil {
		return nil, wrong
	}
	if err := taken.Missing(given, "directory"); err != nil {
		return nil, err
	}
	if len(others) > 0 {
		return nil, fmt.Errorf("unrecognized arguments: %s", strings.Join(others, " "))
	}
	if info, err := os.Stat(o.directory); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%s directory path does not exist", o.directory)
	}
	return o, nil
}
