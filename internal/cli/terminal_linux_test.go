package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"owl/internal/testprog"
)

// A secondScreen calls asked when a question has been written.
type secondScreen struct {
	*testprog.Terminal
	asked func()
}

func (s secondScreen) Write(b []byte) (int, error) {
	n, err := s.Program.Write(b)
	if strings.HasPrefix(string(b), "Enter") {
		s.asked()
	}
	return n, err
}

// While a terminal is asked it shows nothing of what is typed, and afterwards it
// is as it was, however the asking ends.
func TestTerminalEcho(t *testing.T) {
	enough := errors.New("enough")
	for _, interrupted := range []bool{false, true} {
		x := testprog.NewTerminal(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		before := x.State(t)
		if before.Lflag&unix.ECHO == 0 {
			t.Fatal("the terminal does not echo to begin with")
		}
		x.Type(t, "typed ahead\n")
		testprog.Until(t, "the echo of what is typed ahead", func() error {
			if s := x.Screen.String(); s != "typed ahead\r\n" {
				return fmt.Errorf("the screen shows %q", s)
			}
			return nil
		})
		got, err := ReadPassphrase(ctx, "al", x.Program, secondScreen{x, func() {
			if s := x.State(t); s.Lflag&unix.ECHO != 0 || s.Lflag&unix.ICANON == 0 || s.Lflag&unix.ISIG == 0 || s.Cc[unix.VINTR] != before.Cc[unix.VINTR] {
				t.Errorf("asks with %+v", s)
			}
			if interrupted {
				cancel(enough)
			} else {
				x.Type(t, "secret\n")
			}
		}})
		if interrupted && !errors.Is(err, enough) || !interrupted && (string(got) != "secret" || err != nil) {
			t.Errorf("%q, %v", got, err)
		}
		if d := cmp.Diff(before, x.State(t)); d != "" {
			t.Errorf("the terminal is not as it was (-was +is):\n%s", d)
		}
		cancel(nil)
	}
}
