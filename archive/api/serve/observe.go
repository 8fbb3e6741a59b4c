package serve

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"
)

// gone is the status of a request whose client has not waited for the answer.
const gone = 499

const (
	maxTarget = 1024 // octets of a request's path and query that the access log has
	maxWord   = 64   // octets of a request's ID, and of the name of its client's program
	maxStack  = 4096 // octets of where a mistake was
)

// A visit is a request that is being answered.
type visit struct {
	client netip.Addr // none: not known
	id     string
}

type visitKey struct{}

// visitOf returns what is known of a request.
func visitOf(ctx context.Context) *visit {
	v, ok := ctx.Value(visitKey{}).(*visit)
	if !ok {
		v = new(visit) // of a request that has not come by a server
	}
	return v
}

// observe has h answer requests, each of which has an ID and a client from here
// on, is waited for with patience, counted and, if anybody wants that, logged.
func (s *Server) observe(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		v := &visit{client: introduce(r, s.options.Proxies), id: nameOf(r)}
		route := routeOf(r.Method, r.URL.Path)
		r.Header.Set("X-Request-Id", v.id) // for those who log more about it
		w.Header().Set("X-Request-Id", v.id)
		ctx := context.WithValue(r.Context(), visitKey{}, v)
		if route == routeLive {
			var cancel context.CancelFunc
			ctx, cancel = untilEnding(ctx)
			defer cancel()
		}
		r = r.WithContext(ctx)
		target := targetOf(r)

		s.counters.active.Inc()
		defer s.counters.active.Dec()
		a := wait(w, r)
		defer func() {
			mistake := recover()
			if mistake != nil && !aborts(mistake) {
				s.report(a, v, mistake)
				mistake = nil
				if a.code != http.StatusInternalServerError {
					mistake = http.ErrAbortHandler // so that half an answer is not taken for a whole one
				}
			}
			a.finish()
			code := a.code
			switch {
			case mistake != nil || a.cut || code == 0 && r.Context().Err() != nil:
				code = gone
			case code == 0:
				code = http.StatusOK // of an answer that says nothing
			}
			took := time.Since(begun)
			if r.Method == http.MethodHead {
				a.octets = 0 // whatever the handler has written
			}
			s.counters.count(route, code, took)
			if s.options.Access != nil {
				s.options.Access.LogAttrs(ctx, slog.LevelInfo, "request",
					slog.String("id", v.id), slog.Any("client", v.client),
					slog.String("method", cut(r.Method, maxWord)), slog.String("target", target), slog.Int("code", code),
					slog.Int64("octets", a.octets), slog.Float64("ms", float64(took.Microseconds())/1000),
					slog.String("agent", cut(r.UserAgent(), maxWord)))
			}
			if mistake != nil {
				panic(mistake)
			}
		}()
		h.ServeHTTP(a, r)
	})
}

// report tells of a mistake in the program, which ends one request and no more.
func (s *Server) report(a *answer, v *visit, mistake any) {
	s.counters.panics.Inc()
	s.options.Log.Error("a mistake in the program has ended a request; please report it",
		"id", v.id, "mistake", fmt.Sprint(mistake), "stack", cut(string(debug.Stack()), maxStack))
	if a.code == 0 {
		complain(a, http.StatusInternalServerError, "A mistake in the program; its log has more.")
	}
}

// aborts reports whether a panic is how a handler breaks off its answer.
func aborts(mistake any) bool {
	err, ok := mistake.(error)
	return ok && errors.Is(err, http.ErrAbortHandler)
}

type endingKey struct{}

// untilEnding returns a context that ends when the server does, too: who is told
// what happens does not go by himself.
func untilEnding(ctx context.Context) (context.Context, context.CancelFunc) {
	live, cancel := context.WithCancel(ctx)
	ending, ok := ctx.Value(endingKey{}).(context.Context)
	if !ok {
		return live, cancel
	}
	stop := context.AfterFunc(ending, cancel)
	return live, func() {
		stop()
		cancel()
	}
}

// complain answers with an error as the REST interface has it, for clients of
// either generation.
func complain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"detail": text, "error": text})
}

// nameOf returns the ID of a request: the one that a proxy which is trusted has
// given it, or a new one.
func nameOf(r *http.Request) string {
	id := r.Header.Get("X-Request-Id") // which nobody else could leave there
	if id != "" && len(id) <= maxWord && !strings.ContainsFunc(id, notInName) {
		return id
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // which never fails
	return hex.EncodeToString(b[:])
}

func notInName(r rune) bool { return r <= ' ' || r > '~' }

// targetOf returns what a request asks for, as the log has it.
func targetOf(r *http.Request) string {
	target := r.URL.EscapedPath()
	if r.URL.RawQuery != "" {
		target += "?" + r.URL.RawQuery
	}
	return cut(target, maxTarget)
}

// cut returns at most n octets of s.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
