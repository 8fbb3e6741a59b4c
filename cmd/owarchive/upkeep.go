package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
)

// backup is the command of that name.
func (o *options) backup(ctx context.Context, log *slog.Logger, stdout io.Writer) error {
	st, err := o.open(ctx, log)
	if err != nil {
		return err
	}
	defer st.Close()
	to := o.operands[0]
	if err := st.Backup(ctx, to); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%v is copied to %s\n", st, to)
	return err
}

// prune is the command of that name.
func (o *options) prune(ctx context.Context, log *slog.Logger, stdout io.Writer) error {
	rules, err := o.rules()
	if err != nil {
		return err
	}
	st, err := o.open(ctx, log)
	if err != nil {
		return err
	}
	defer st.Close()
	removed, err := st.Prune(ctx, rules)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "removed: %d values and summaries\n", removed)
	return err
}

// A condition is what there is to know of an archive at a glance.
type condition struct {
	Archive      string `json:"archive"`
	Measurements int64  `json:"measurements"`
	Octets       int64  `json:"octets"`
	Keys         int    `json:"keys"`
}

// check is the command of that name.
func (o *options) check(ctx context.Context, log *slog.Logger, stdout io.Writer) error {
	st, err := o.open(ctx, log)
	if err != nil {
		return err
	}
	defer st.Close()
	if err := st.Check(ctx); err != nil {
		return fmt.Errorf("archive %v: %w", st, err)
	}
	stats, err := st.Stats(ctx)
	if err != nil {
		return err
	}
	keys, err := st.Keys(ctx)
	if err != nil {
		return err
	}
	c := condition{Archive: st.String(), Measurements: stats.Measurements, Octets: stats.Octets, Keys: len(keys)}
	if o.json {
		return printJSON(stdout, c)
	}
	_, err = fmt.Fprintf(stdout, "%s: well. %d measurements, %s, %d keys\n", c.Archive, c.Measurements, size(c.Octets), c.Keys)
	return err
}

// size returns a number of octets as people read it.
func size(octets int64) string {
	units := []string{"kB", "MB", "GB", "TB"}
	v, unit := float64(octets), "octets"
	for _, u := range units {
		if v < 1000 {
			break
		}
		v, unit = v/1000, u
	}
	if unit == "octets" {
		return fmt.Sprintf("%d %s", octets, unit)
	}
	return fmt.Sprintf("%.3g %s", v, unit)
}
