package sessions

import (
	"errors"
	"fmt"
	"testing"

	"owl/owamp"
	"owl/owamp/control"
)

// To be refused a session is one thing, not to be let in another.
func TestRefused(t *testing.T) {
	denied := &control.DeniedError{Step: "Fetch-Ack", Accept: owamp.AcceptReject}
	for _, test := range []struct {
		err  error
		want bool
	}{
		{&failure{GapRefused, fmt.Errorf("fetching: %w", denied)}, true},
		{&failure{GapHandshakeFailed, fmt.Errorf("connecting: %w", denied)}, false},
		{&failure{GapPeerUnreachable, errors.New("no route to host")}, false},
		{errors.New("disk full"), false},
	} {
		accept, got := refused(test.err)
		if got != test.want || got && accept != owamp.AcceptReject {
			t.Errorf("%v: %v, %v, want %v", test.err, accept, got, test.want)
		}
	}
}
