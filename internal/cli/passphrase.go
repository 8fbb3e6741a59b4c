package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"owl/sessions/policy"
)

// ErrNoTerminal says that there is no terminal at which anybody could be asked.
var ErrNoTerminal = errors.New("no terminal to ask at")

// AskPassphrase asks for the pass-phrase of a user at the terminal of the
// program, wherever its input and output go, and shows nothing of what is
// typed. The terminal is as it was before when it returns, also when ctx ends
// the asking. Without a terminal it is an [ErrNoTerminal].
func AskPassphrase(ctx context.Context, user string) ([]byte, error) {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTerminal, err)
	}
	defer tty.Close()
	return ReadPassphrase(ctx, user, tty, tty)
}

// ReadPassphrase asks for the pass-phrase of a user on out and reads it from in,
// up to the end of the line and no octet further; if in is a terminal it does
// as [AskPassphrase] does. When ctx ends, in may still be being read.
func ReadPassphrase(ctx context.Context, user string, in io.Reader, out io.Writer) ([]byte, error) {
	show, err := hideEcho(in)
	if err != nil {
		return nil, fmt.Errorf("hiding what is typed: %w", err)
	}
	fmt.Fprintf(out, "Enter passphrase for identity '%s': ", user)
	type answer struct {
		line []byte
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		line, err := readLine(in)
		answered <- answer{line, err}
	}()
	var a answer
	select {
	case a = <-answered:
	case <-ctx.Done():
		a.err = context.Cause(ctx)
	}
	io.WriteString(out, "\n") // the one that was typed is not shown
	if err := show(); err != nil && a.err == nil {
		a.err = err
	}
	if a.err != nil {
		return nil, fmt.Errorf("asking for the pass-phrase of %q: %w", user, a.err)
	}
	return a.line, nil
}

// readLine reads what a pass-phrase may be, up to a line feed, a carriage return
// or the end. What follows is left to who reads next.
func readLine(in io.Reader) (line []byte, err error) {
	for b := make([]byte, 1); ; {
		_, err := io.ReadFull(in, b)
		ended := errors.Is(err, io.EOF) || err == nil && (b[0] == '\n' || b[0] == '\r')
		switch {
		case ended && len(line) == 0:
			return nil, errors.New("there is none")
		case ended:
			return line, nil
		case err != nil:
			return nil, err
		case len(line) == policy.MaxPassphrase:
			return nil, fmt.Errorf("more than %d octets", policy.MaxPassphrase)
		}
		line = append(line, b[0])
	}
}
