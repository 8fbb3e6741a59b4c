// Owstats reports what .owp files say: the statistics of a session for people
// or for programs, for all of it or part by part, and its single records.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"

	"owl/internal/cli"
	"owl/internal/hostname"
	"owl/internal/report"
)

func main() {
	cli.Main(run)
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
		fmt.Fprintf(stderr, "owstats: %s\n", note)
	}
	names := hostname.NewCache(net.DefaultResolver, getenv("OWL_NUMERIC") == "1")
	r := report.New(ctx, "owstats", &o.report, stdout)
	for _, file := range o.files {
		if err = r.File(file, names.Names); err != nil {
			break
		}
	}
	if err = cmp.Or(err, r.Flush()); err != nil {
		fmt.Fprintf(stderr, "owstats: %v\n", err)
		return 1
	}
	return 0
}
