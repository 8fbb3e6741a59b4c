package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"text/tabwriter"
	"time"

	"owl/archive/store"
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

// openRuled opens the archive of a command that goes by rules of retention.
func (o *options) openRuled(ctx context.Context, log *slog.Logger) (*store.Store, []store.Rule, error) {
	rules, err := o.rules()
	if err != nil {
		return nil, nil, err
	}
	st, err := o.open(ctx, log)
	return st, rules, err
}

// prune is the command of that name.
func (o *options) prune(ctx context.Context, log *slog.Logger, stdout io.Writer) error {
	st, rules, err := o.openRuled(ctx, log)
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

// An outlook is a forecast for people and programs.
type outlook struct {
	Octets int64  `json:"octets"`
	Free   *int64 `json:"free_octets,omitempty"` // absent: the database's server does not tell
	PerDay int64  `json:"octets_per_day"`
	Values int64  `json:"values_per_day"`
	// With the rules of retention; absent: never full, or growing for ever.
	Full *time.Time `json:"full,omitempty"`
	Most *int64     `json:"at_most_octets,omitempty"`
	// Without them.
	FullWithout *time.Time `json:"full_without_retention,omitempty"`
}

// forecast is the command of that name.
func (o *options) forecast(ctx context.Context, log *slog.Logger, stdout io.Writer) error {
	st, rules, err := o.openRuled(ctx, log)
	if err != nil {
		return err
	}
	defer st.Close()
	f, err := st.Forecast(ctx, rules)
	if err != nil {
		return err
	}
	v := outlook{Octets: f.Octets, PerDay: f.PerDay, Values: f.Values}
	if f.Free >= 0 {
		v.Free = &f.Free
	}
	if !f.Kept.IsZero() {
		v.Full = &f.Kept
	}
	if !f.Full.IsZero() {
		v.FullWithout = &f.Full
	}
	if f.Most >= 0 {
		v.Most = &f.Most
	}
	if o.json {
		return printJSON(stdout, v)
	}
	return v.print(stdout, len(rules) > 0)
}

// print prints a forecast for people.
func (v *outlook) print(w io.Writer, ruled bool) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "now\t%s\n", size(v.Octets))
	if v.Free != nil {
		fmt.Fprintf(tw, "free\t%s\n", size(*v.Free))
	}
	fmt.Fprintf(tw, "a day adds\t%s, %d values\n", size(v.PerDay), v.Values)
	if v.Free != nil {
		fmt.Fprintf(tw, "the disk is full\t%s\n", date(v.FullWithout))
	}
	if ruled {
		most := "it grows for ever"
		if v.Most != nil {
			most = "it has " + size(*v.Most) + " at most"
		}
		if v.Free != nil {
			most += "; the disk is full: " + date(v.Full)
		}
		fmt.Fprintf(tw, "with --retention\t%s\n", most)
	}
	return tw.Flush()
}

// date returns a day for people; none is farther off than a forecast looks.
func date(t *time.Time) string {
	if t == nil {
		return "not within 100 years"
	}
	return "about " + t.Local().Format(time.DateOnly)
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
