// Owampd answers OWAMP clients: it sends test packets to those who ask for them
// and records those that come.
package main

import (
	"context"
	"io"
	"os"

	"owl/internal/cli"
)

func main() {
	ctx, hangup, stop := cli.Signals(context.Background())
	code := run(ctx, hangup, os.Args, os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program. It ends with ctx, or at a hangup, as the reference does.
func run(ctx context.Context, hangup <-chan struct{}, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	o, err := parse(args[1:])
	if err != nil {
		return program.Refuse(stderr, err)
	}
	if o.Asked() {
		return program.Tell(o.Standard, stdout)
	}
	log := cli.NewLogger(cli.LogConfig{
		Program:  args[0],
		Stderr:   stderr,
		Facility: o.facility,
		Level:    o.level,
		Source:   o.location || o.verbose > 1,
	})
	for _, remark := range o.remarks {
		log.Warn(remark)
	}
	d, err := start(ctx, o, log, getenv)
	if err != nil {
		log.Error(err.Error())
		return 1
	}
	defer d.close()
	if err := d.serve(ctx, hangup); err != nil {
		log.Error(err.Error())
		return 1
	}
	log.Info("owampd: exited.")
	return 0
}
