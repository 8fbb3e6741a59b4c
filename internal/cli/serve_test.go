package cli

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/internal/testprog"
)

func TestServeMetrics(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "owl 1\n") })
	url, err := ServeMetrics(ctx, "127.0.0.1:0", h)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(method, url string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b)
	}
	root := strings.TrimSuffix(url, "metrics")
	type answer struct {
		Code int
		Body string
	}
	for _, c := range []struct {
		method, url string
		want        answer
	}{
		{"GET", url, answer{200, "owl 1\n"}},
		{"GET", root, answer{200, metricsIndex}},
		{"GET", root + "other", answer{404, "404 page not found\n"}},
		{"POST", url, answer{405, "Method Not Allowed\n"}},
	} {
		code, body := get(c.method, c.url)
		if d := cmp.Diff(c.want, answer{code, body}); d != "" {
			t.Errorf("%s %s:\n%s", c.method, c.url, d)
		}
	}

	addr := strings.TrimSuffix(strings.TrimPrefix(root, "http://"), "/")
	if _, err := ServeMetrics(ctx, addr, h); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("port taken: %v", err)
	}
	cancel()
	// The listener is closed by the end of the context; the port is free as
	// soon as somebody else can have it.
	testprog.Until(t, "the port to be free", func() error {
		l, err := net.Listen("tcp", addr)
		if err == nil {
			l.Close()
		}
		return err
	})
}

func TestServeMetricsAddress(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, bad := range []string{"", "9861", "localhost", "::1", "127.0.0.1:nosuchport"} {
		if _, err := ServeMetrics(ctx, bad, nil); err == nil || !strings.HasPrefix(err.Error(), "metrics address ") {
			t.Errorf("ServeMetrics on %q: %v", bad, err)
		}
	}
	for in, want := range map[string]string{"127.0.0.1:9861": "127.0.0.1:9861", "0.0.0.0:1": "localhost:1", "[::]:1": "localhost:1"} {
		a, err := net.ResolveTCPAddr("tcp", in)
		if err != nil {
			t.Fatal(err)
		}
		if got := Reachable(a); got != want {
			t.Errorf("Reachable(%s) = %s, want %s", in, got, want)
		}
	}
}

func TestSignals(t *testing.T) {
	ctx, hangup, stop := Signals(t.Context())
	defer stop()
	kill := func(s syscall.Signal) {
		if err := syscall.Kill(syscall.Getpid(), s); err != nil {
			t.Fatal(err)
		}
	}
	kill(syscall.SIGUSR1)
	kill(syscall.SIGUSR2)
	kill(syscall.SIGPIPE)
	kill(syscall.SIGHUP)
	<-hangup
	if ctx.Err() != nil {
		t.Fatalf("ended by %v", context.Cause(ctx))
	}
	kill(syscall.SIGTERM)
	<-ctx.Done()
	var want error = &SignalError{syscall.SIGTERM}
	if got := context.Cause(ctx); got.Error() != want.Error() {
		t.Errorf("cause %v, want %v", got, want)
	}
}

func TestSignalsStop(t *testing.T) {
	ctx, _, stop := Signals(t.Context())
	stop()
	if got := context.Cause(ctx); !errors.Is(got, context.Canceled) {
		t.Errorf("cause after stop: %v", got)
	}
}
