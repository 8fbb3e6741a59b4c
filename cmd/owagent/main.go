// Owagent is Owl's measurement agent. Its demo shows what Owl does, on loopback
// and without a configuration.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"owl/internal/cli"
	"owl/internal/getopt"
)

var program = cli.Program{Name: "owagent", Usage: `usage: owagent demo

   demo        measure one-way latency on loopback and show it, until Ctrl-C or
               for DEMO_SECONDS seconds
   -h, --help  print this message
   --version   print the version
`}

const letters = "h"

func main() {
	ctx, _, stop := cli.Signals(context.Background())
	code := run(ctx, os.Args, os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	opts, rest, err := getopt.Parse(args[1:], letters, cli.StandardLong)
	if err == nil && len(opts) > 0 {
		var asked cli.Standard
		asked.SetStandard(opts[0].Name)
		return program.Tell(asked, stdout)
	}
	switch {
	case err != nil:
	case len(rest) == 0:
		err = errors.New("want a command")
	case rest[0] != "demo":
		err = fmt.Errorf("command %q: want demo", rest[0])
	case len(rest) > 1:
		err = fmt.Errorf("demo %q: want no argument", rest[1])
	}
	if err != nil {
		return program.Refuse(stderr, &cli.UsageError{Err: err})
	}
	if err := demo(ctx, getenv, stdout, stderr); err != nil {
		return program.Refuse(stderr, err)
	}
	return 0
}
