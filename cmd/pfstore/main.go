// Pfstore edits the file that holds the pass-phrases of OWAMP's users.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"owl/internal/cli"
	"owl/internal/command"
	"owl/internal/getopt"
	"owl/sessions/policy"
)

var program = command.Program{Name: "pfstore", Usage: `usage: pfstore [arguments] identity
[arguments] are as follows:

   -f fname       pass-phrase file to edit (required)
   -n             create the file
   -d             delete the identity from the file
   -h             print this message and exit
   --version      print the version and exit

pfstore asks for the pass-phrase of identity, at the terminal if there is one
and else on standard input, and puts both into the file in place of what it says
of identity.
`}

func main() {
	command.Main(func(ctx context.Context, args []string, _ func(string) string, stdout, stderr io.Writer) int {
		return run(ctx, args, os.Stdin, stdout, stderr)
	})
}

// run is the program. It asks for a pass-phrase on stderr, and reads it from
// stdin, where there is no terminal.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o, err := parse(args[1:])
	if err != nil {
		return program.Refuse(stderr, err)
	}
	if o.Asked() {
		return program.Tell(o.Standard, stdout)
	}
	if err := o.edit(ctx, func() ([]byte, error) { return ask(ctx, o.user, stdin, stderr) }); err != nil {
		fmt.Fprintf(stderr, "pfstore: %v\n", err)
		return 1
	}
	return 0
}

// options are a command line.
type options struct {
	command.Standard
	file   string
	create bool
	remove bool
	user   string
}

const letters = "df:hn"

// parse reads a command line. Options may stand behind the identity, as GNU
// getopt has it for the reference.
func parse(args []string) (*options, error) {
	o := &options{}
	opts, rest, err := getopt.ParseMixed(args, letters, command.StandardLong)
	if err != nil {
		return nil, &command.UsageError{Err: err}
	}
	for _, opt := range opts {
		switch opt.Name {
		case "d":
			o.remove = true
		case "f":
			o.file = opt.Value
		case "n":
			o.create = true
		default:
			o.SetStandard(opt.Name)
		}
	}
	switch {
	case o.Asked():
		return o, nil
	case o.file == "":
		return nil, &command.UsageError{Err: errors.New("-f option is required")}
	case len(rest) != 1:
		return nil, &command.UsageError{Err: errors.New("want one identity")}
	case o.create && o.remove:
		return nil, errors.New("-n and -d: there is nothing to delete from a file that is created")
	}
	o.user = rest[0]
	if err := policy.CheckUser(o.user); err != nil {
		return nil, fmt.Errorf("identity %q: %w", o.user, err)
	}
	return o, nil
}

// ask asks for the pass-phrase of a user.
func ask(ctx context.Context, user string, stdin io.Reader, stderr io.Writer) ([]byte, error) {
	passphrase, err := cli.AskPassphrase(ctx, user)
	if errors.Is(err, cli.ErrNoTerminal) {
		return cli.ReadPassphrase(ctx, user, stdin, stderr)
	}
	return passphrase, err
}
