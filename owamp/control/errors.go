package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"owl/owamp"
)

// ErrNoCommonMode says that the server offers no mode that the client would
// use, or none at all, by which it says that it does not want to talk.
var ErrNoCommonMode = errors.New("no common mode")

// A DeniedError is a refusal that the protocol has a code for.
type DeniedError struct {
	Step   string // the message that brought it, "Server-Start" for instance
	Accept owamp.Accept
	Why    string // what the peer is not told; empty where this side is told
}

func (e *DeniedError) Error() string {
	if e.Why != "" {
		return fmt.Sprintf("%s: %v: %s", e.Step, e.Accept, e.Why)
	}
	return fmt.Sprintf("%s: %v", e.Step, e.Accept)
}

// A ProtocolError says that the peer sent what RFC 4656 does not allow there.
type ProtocolError struct {
	Step string // what was read, "Accept-Session" for instance
	Err  error  // what is wrong with it
}

func (e *ProtocolError) Error() string { return fmt.Sprintf("reading %s: %v", e.Step, e.Err) }

func (e *ProtocolError) Unwrap() error { return e.Err }

// A ConnError says that the connection was lost, or that the peer kept silent
// for too long. It unwraps to the cause: [io.EOF] where the peer closed between
// two messages, [io.ErrUnexpectedEOF] within one, [os.ErrDeadlineExceeded] when
// a time-out of the server has passed, the cause of a context that ended.
type ConnError struct {
	Step string // "reading Server-Greeting" for instance
	Err  error
}

func (e *ConnError) Error() string {
	switch {
	case errors.Is(e.Err, io.EOF):
		return e.Step + ": peer closed the connection"
	case errors.Is(e.Err, io.ErrUnexpectedEOF):
		return e.Step + ": peer closed the connection within the message"
	case errors.Is(e.Err, context.DeadlineExceeded), errors.Is(e.Err, os.ErrDeadlineExceeded):
		return e.Step + ": peer was silent for too long"
	case errors.Is(e.Err, context.Canceled):
		return e.Step + ": canceled"
	case errors.Is(e.Err, net.ErrClosed), errors.Is(e.Err, io.ErrClosedPipe):
		return e.Step + ": connection is closed"
	}
	// The addresses and the system call that are around it tell nothing here.
	if errno, ok := errors.AsType[syscall.Errno](e.Err); ok {
		return fmt.Sprintf("%s: %v", e.Step, errno)
	}
	return fmt.Sprintf("%s: %v", e.Step, e.Err)
}

func (e *ConnError) Unwrap() error { return e.Err }

// garbage makes a ProtocolError of what a parser said of the named message. An
// error of the connection stays what it is, and no error none.
func garbage(step string, err error) error {
	if err == nil {
		return nil
	}
	if lost, ok := errors.AsType[*ConnError](err); ok {
		return lost
	}
	return &ProtocolError{step, err}
}
