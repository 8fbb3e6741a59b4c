// Owstats reports what .owp files say: the statistics of a session for people
// or for programs, for all of it or part by part, and its single records.
package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"

	"owl/internal/command"
	"owl/internal/hostname"
	"owl/internal/report"
)

func main() {
	command.Main(run)
}

// Exit codes.
const (
	ok      = 0
	failure = 1
	damaged = 3 // with --salvage: something was left out, or amended
)

// run is the program.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	o, err := parse(args[1:])
	if err != nil {
		return program.Refuse(stderr, err)
	}
	if o.Asked() {
		return program.Tell(o.Standard, stdout)
	}
	say := func(line string) { fmt.Fprintf(stderr, "owstats: %s\n", line) }
	for _, note := range o.report.Settle() {
		say(note)
	}
	names := hostname.NewCache(net.DefaultResolver, getenv("OWL_NUMERIC") == "1")
	if o.flent.out != "" {
		if err := o.flent.write(ctx, o.files, names, stdout, say); err != nil {
			say(err.Error())
			return failure
		}
		return ok
	}
	r := report.New(ctx, "owstats", &o.report, stdout)
	r.Note = say
	for _, file := range o.files {
		if isFlent(file) {
			err = cmp.Or(r.Flush(), printFlent(file, &o.report, stdout))
		} else {
			err = r.File(file, names.Names)
		}
		if err != nil {
			break
		}
	}
	if err = cmp.Or(err, r.Close()); err != nil {
		say(err.Error())
		return failure
	}
	if r.Damaged() {
		return damaged
	}
	return ok
}
