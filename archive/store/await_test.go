package store

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"owl/archive/series"
	"owl/internal/testprog"
	"owl/internal/testserver"
)

// A server that is away when the archive is opened is found when it is there; the
// log says each once. One that refuses is not waited for.
func TestAwait(t *testing.T) {
	t.Parallel()
	server := &database{PostgreSQL: testserver.StartPostgreSQL(t, nil)}
	address, newer := server.create(t), server.create(t)
	other, err := Open(t.Context(), newer, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.Connect(t.Context(), newer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "UPDATE archive SET version = 99"); err != nil {
		t.Fatal(err)
	}
	conn.Close(t.Context())
	for address, want := range map[string]string{newer: "version 99", server.url("nowhere"): `database "nowhere" does not exist`} {
		if s, err := Open(t.Context(), address, Options{Await: true}); err == nil {
			s.Close()
			t.Errorf("it is opened, want %s", want)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q, want %q", err, want)
		}
	}

	server.Stop(t)
	var log bytes.Buffer
	s, err := Open(t.Context(), address, Options{Await: true, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m, err := series.ParseMetadata([]byte(disorder))
	if err != nil {
		t.Fatal(err)
	}
	_, unregistered := s.Register(t.Context(), m)
	_, _, unfound := s.Search(t.Context(), &Filter{Limit: 1})
	for _, err := range []error{unregistered, unfound, s.Check(t.Context())} {
		if err == nil || !strings.Contains(err.Error(), "failed to connect") || strings.Contains(err.Error(), testserver.Password) {
			t.Errorf("without a server: %v, want an error", err)
		}
	}
	// One that is closed while it waits does not wait for the server.
	if closed, err := Open(t.Context(), address, Options{Await: true}); err != nil {
		t.Error(err)
	} else if err := closed.Close(); err != nil {
		t.Error(err)
	}

	server.Start(t, false)
	testprog.Until(t, "the archive", func() error { return s.Check(t.Context()) })
	register(t, s, m)
	if err := s.Close(); err != nil { // what is logged has been
		t.Fatal(err)
	}
	for _, line := range []string{"the archive cannot be written", "the archive is written again"} {
		if n := strings.Count(log.String(), fmt.Sprintf("%q", line)); n != 1 {
			t.Errorf("%d times %q\n%s", n, line, &log)
		}
	}
}
