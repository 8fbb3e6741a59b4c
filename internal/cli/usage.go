package cli

import (
	"errors"
	"fmt"
	"io"
)

// A UsageError is a command line that is answered with the usage text.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

func (e *UsageError) Unwrap() error { return e.Err }

// Refuse says on w in one line what is wrong with the program's command line,
// with the usage text after it if that helps.
func Refuse(w io.Writer, program string, err error, usage string) {
	fmt.Fprintf(w, "%s: %v\n", program, err)
	if _, ok := errors.AsType[*UsageError](err); ok {
		io.WriteString(w, usage)
	}
}
