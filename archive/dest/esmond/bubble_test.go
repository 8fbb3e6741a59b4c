package esmond

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"owl/archive"
	"owl/internal/bubble"
)

// A transport answers requests without a network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A server that does not answer is given up after 5 s, as by pScheduler.
func TestHang(t *testing.T) {
	data, item := readInput(t, "03-failed")
	bubble.Test(t, func(t *testing.T) {
		opened := openTest(t, "http://192.0.2.1", data, findHost)
		opened.Destination.(*destination).archive.(*client).Transport = transport(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		begun := time.Now()
		err := opened.Deliver(t.Context(), item)
		if took := time.Since(begun); err == nil || archive.IsFinal(err) || took != 5*time.Second {
			t.Errorf("%v after %v, want an error that is not final after 5s", err, took)
		}
	})
}

// A key is asked for anew after an hour.
func TestKeyExpires(t *testing.T) {
	data, item := readInput(t, "03-failed")
	bubble.Test(t, func(t *testing.T) {
		registered := 0
		opened := openTest(t, "http://192.0.2.1", data, findHost)
		opened.Destination.(*destination).archive.(*client).Transport = transport(func(r *http.Request) (*http.Response, error) {
			body := `""`
			if r.Method == http.MethodPost {
				registered++
				body = `{"metadata-key": "x"}`
			}
			return &http.Response{StatusCode: http.StatusCreated, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
		})
		for _, want := range []int{1, 1, 2} {
			if err := opened.Deliver(t.Context(), item); err != nil || registered != want {
				t.Fatalf("registered %d times, %v, want %d", registered, err, want)
			}
			time.Sleep(31 * time.Minute)
			synctest.Wait()
		}
	})
}
