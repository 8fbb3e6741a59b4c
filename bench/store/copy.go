package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"owl/archive/store"
)

// copied is where rows are copied to, to compare: as points, with the same key.
const copied = "owl_bench_copied"

// copyRows has the server copy the values that were written as fast as could be,
// which is as fast as a server can take them: without a look at what is there, in
// one transaction, and without summaries.
func (b *bench) copyRows(ctx context.Context) error {
	if !store.IsURL(b.address) {
		return nil
	}
	conn, err := pgx.Connect(ctx, b.address)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	from, err := conn.Query(ctx, "SELECT key, ts, series, value FROM points WHERE ts >= $1", b.capacityAt())
	if err != nil {
		return err
	}
	rows, err := pgx.CollectRows(from, func(r pgx.CollectableRow) ([]any, error) {
		var key, value []byte
		var ts, series int64
		err := r.Scan(&key, &ts, &series, &value)
		return []any{key, ts, series, value}, err
	})
	if err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "DROP TABLE IF EXISTS "+copied+"; CREATE TABLE "+copied+" (LIKE points INCLUDING ALL)"); err != nil {
		return err
	}
	begun := time.Now()
	if _, err := conn.CopyFrom(ctx, pgx.Identifier{copied}, []string{"key", "ts", "series", "value"}, pgx.CopyFromRows(rows)); err != nil {
		return err
	}
	rate := float64(len(rows)) / time.Since(begun).Seconds()
	b.say("COPY of the same values", "%.0f a second, %.1f times as many", rate, rate/b.most)
	_, err = conn.Exec(ctx, "DROP TABLE "+copied)
	return err
}
