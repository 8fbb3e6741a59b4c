package tstat

import (
	"context"
	"log/slog"
	"sync"
)

// A recorder keeps what was logged.
type recorder struct {
	mu  sync.Mutex
	all []slog.Record
}

func (*recorder) Enabled(context.Context, slog.Level) bool { return true }
func (r *recorder) WithAttrs([]slog.Attr) slog.Handler     { return r }
func (r *recorder) WithGroup(string) slog.Handler          { return r }

func (r *recorder) Handle(_ context.Context, record slog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, record)
	return nil
}

// of returns what an attribute is in the records of a message.
func (r *recorder) of(message, attribute string) (values []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, record := range r.all {
		if record.Message != message {
			continue
		}
		record.Attrs(func(a slog.Attr) bool {
			if a.Key == attribute {
				values = append(values, a.Value.String())
			}
			return true
		})
	}
	return values
}

// discard is for those who do not look at the log.
var discard = slog.New(slog.DiscardHandler)

func (r *recorder) logger() *slog.Logger { return slog.New(r) }

// warnings returns how many there were.
func (r *recorder) warnings() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, record := range r.all {
		if record.Level == slog.LevelWarn {
			n++
		}
	}
	return n
}
