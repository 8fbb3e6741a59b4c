package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"owl/archive/store"
)

// importAll is the command import: each operand is of the kind that it looks like.
func (o *options) importAll(ctx context.Context, log *slog.Logger, stdin io.Reader, stdout io.Writer) error {
	st, err := o.open(ctx, log)
	if err != nil {
		return err
	}
	defer st.Close()
	say := func(line string) { fmt.Fprintln(stdout, line) }
	var errs []error
	for _, from := range o.operands {
		if err := o.importOne(ctx, st, from, stdin, say); err != nil {
			errs = append(errs, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

func (o *options) importOne(ctx context.Context, st *store.Store, from string, stdin io.Reader, say func(string)) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return importTree(ctx, st, from, o.tree, say)
	}
	return fmt.Errorf("%s: want a directory", from)
}
