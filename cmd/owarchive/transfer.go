package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"owl/archive/remote"
	"owl/archive/series"
	"owl/archive/store"
	"owl/internal/aside"
	"owl/internal/table"
)

// export is the command of that name.
func (o *options) export(ctx context.Context, log *slog.Logger, stdout io.Writer) error {
	st, err := o.open(ctx, log)
	if err != nil {
		return err
	}
	defer st.Close()
	if len(o.operands) == 0 || o.operands[0] == "-" {
		_, err := st.Export(ctx, stdout)
		return err
	}
	path := o.operands[0]
	done, err := exportFile(ctx, st, path)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s: %d measurements, %d values and %d summaries exported\n", path, done.Measurements, done.Values, done.Summaries)
	return err
}

// exportFile writes what an archive has to a file, which has its name once it is
// whole.
func exportFile(ctx context.Context, st *store.Store, path string) (done store.Transferred, err error) {
	f, err := aside.Replace(path, program.Name)
	if err != nil {
		return done, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if done, err = st.Export(ctx, f); err != nil {
		return done, err
	}
	return done, f.Commit()
}

// importAll is the command import. What is wrong with one of several does not keep
// the others out; the error is of all of them.
func (o *options) importAll(ctx context.Context, log *slog.Logger, stdin io.Reader, stdout, stderr io.Writer) error {
	st, err := o.open(ctx, log)
	if err != nil {
		return err
	}
	defer st.Close()
	say := func(line string) { fmt.Fprintln(stdout, table.Plain(line)) }
	failed := 0
	for _, from := range o.operands {
		err := o.importOne(ctx, st, from, stdin, say)
		if err == nil {
			continue
		}
		err = plainError{err}
		switch {
		case ctx.Err() != nil, len(o.operands) == 1:
			return err
		}
		program.Refuse(stderr, err)
		failed++
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d were not imported", failed, len(o.operands))
	}
	return nil
}

// A plainError is one of what others have said, which a terminal is not to act upon.
type plainError struct{ error }

func (e plainError) Error() string { return table.Plain(e.error.Error()) }
func (e plainError) Unwrap() error { return e.error }

// importOne imports what from is by its looks.
func (o *options) importOne(ctx context.Context, st *store.Store, from string, stdin io.Reader, say func(string)) error {
	switch {
	case from == "-":
		return importLines(ctx, st, stdin, "the standard input", say)
	case strings.HasPrefix(from, "http://"), strings.HasPrefix(from, "https://"):
		return importRemote(ctx, st, from, say)
	}
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return importTree(ctx, st, from, o.tree, say)
	}
	return importLines(ctx, st, f, from, say)
}

// importLines imports what export has written.
func importLines(ctx context.Context, st *store.Store, r io.Reader, name string, say func(string)) error {
	done, err := st.Import(ctx, r)
	say(news(name, done))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// importRemote imports what another archive has, over its REST interface.
func importRemote(ctx context.Context, st *store.Store, address string, say func(string)) error {
	from, err := remote.New(address, &http.Client{Timeout: remoteTimeout}, time.Now())
	if err != nil {
		return err // which does not tell the password, as the URL might
	}
	told := time.Now()
	done, err := st.Copy(ctx, from, func(_ *series.Metadata, done store.Transferred) {
		if now := time.Now(); now.Sub(told) >= treeProgress {
			told = now
			say(news(from.String(), done))
		}
	})
	say(news(from.String(), done))
	if err != nil {
		return fmt.Errorf("%v: %w", from, err)
	}
	return nil
}

// remoteTimeout bounds one answer of another archive.
const remoteTimeout = 2 * time.Minute

// news says what has come from somewhere.
func news(from string, t store.Transferred) string {
	return fmt.Sprintf("%s: %d measurements; %d values and %d summaries are new", from, t.Measurements, t.Values, t.Summaries)
}
