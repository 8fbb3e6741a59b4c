// Package archivingtest has archives for tests of programs that bring their results
// to them: a [Taker], which keeps what it is sent, and what asks a measurement
// archive ([Archive]) and holds its answers against the summaries of sessions ([Sum]).
package archivingtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"owl/internal/testprog"
)

// A Taker is an HTTP server that keeps the results that it is sent.
type Taker struct {
	*httptest.Server
	Broken atomic.Bool // it takes none, and answers with 500

	mu   sync.Mutex
	took []Result
}

// A Result is what a Taker knows of a result.
type Result struct {
	ID   string
	Test struct {
		Type string
		Spec struct {
			Flip bool
			Dest string
		}
	}
	Result struct {
		Succeeded bool
		Sent      int            `json:"packets-sent"`
		Received  int            `json:"packets-received"`
		Latency   map[string]int `json:"histogram-latency"`
		Raw       []any          `json:"raw-packets"`
		Error     string
		Owl       struct {
			SID  string
			Part *int
		}
	}
}

// New starts a Taker.
func New(t *testing.T) *Taker {
	t.Helper()
	to := new(Taker)
	to.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var result Result
		if err == nil {
			err = json.Unmarshal(body, &result)
		}
		if err != nil {
			t.Errorf("%v: %s", err, body)
		}
		if to.Broken.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		to.mu.Lock()
		defer to.mu.Unlock()
		to.took = append(to.took, result)
	}))
	t.Cleanup(to.Close)
	return to
}

// Spec returns the archive specification of the Taker.
func (to *Taker) Spec() string {
	return fmt.Sprintf(`{"archiver": "http", "data": {"_url": %q}}`, to.URL)
}

// All wants any result.
func All(*Result) bool { return true }

// Await waits until so many results have come that are wanted, and returns them in
// their order.
func (to *Taker) Await(t *testing.T, n int, wanted func(*Result) bool) (got []Result) {
	t.Helper()
	testprog.Until(t, fmt.Sprintf("%d results", n), func() error {
		to.mu.Lock()
		defer to.mu.Unlock()
		got = got[:0]
		for _, r := range to.took {
			if wanted(&r) {
				got = append(got, r)
			}
		}
		if len(got) < n {
			return fmt.Errorf("%d of %d have come", len(got), len(to.took))
		}
		return nil
	})
	return got
}

// Count returns how many results have come.
func (to *Taker) Count() int {
	to.mu.Lock()
	defer to.mu.Unlock()
	return len(to.took)
}
