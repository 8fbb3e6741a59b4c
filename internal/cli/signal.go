//go:build unix

package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// A SignalError is the cause of a context that a signal has ended; see
// [context.Cause].
type SignalError struct{ Signal os.Signal }

func (e *SignalError) Error() string { return fmt.Sprintf("caught %v", e.Signal) }

// Signals returns a context that SIGINT or SIGTERM ends, with a [SignalError]
// as its cause, and a channel that says when SIGHUP has come; several of them
// while nobody looks are one. SIGUSR1 and SIGUSR2 are ignored, as the C
// programs do, because scripts may send them, and SIGPIPE, so that nothing dies
// because its log lost its reader.
//
// After the first SIGINT or SIGTERM the next one has its usual effect, so that
// a program that hangs while it ends can still be ended by hand. Calling stop
// gives all signals back their usual effect and releases the goroutine.
func Signals(parent context.Context) (ctx context.Context, hangup <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	end := make(chan os.Signal, 1)
	hup := make(chan os.Signal, 1)
	again := make(chan struct{}, 1)
	signal.Notify(end, os.Interrupt, syscall.SIGTERM)
	signal.Notify(hup, syscall.SIGHUP)
	signal.Ignore(syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE)

	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case s := <-end:
				cancel(&SignalError{s})
				signal.Stop(end)
			case <-hup:
				select {
				case again <- struct{}{}:
				default:
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, again, func() {
		cancel(context.Canceled)
		<-done
		signal.Stop(end)
		signal.Stop(hup)
		signal.Reset(syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE)
	}
}
