// Store measures a measurement archive's store: how many writes it takes while it
// is read, how long they wait, how fast it is read when much is in it, and how much
// memory and disk it needs. It prints one line for each figure.
//
//	go run ./bench/store                                    # SQLite, ten million values
//	go run ./bench/store -values 500000 -time 10s            # a short look
//	go run ./bench/store -store 'postgres://user@host/empty'
//
// A write is what powstream sends of a session: values of eight event types at one
// second, with perfSONAR's default summaries.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"owl/archive/series"
	"owl/archive/store"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "store:", err)
		os.Exit(1)
	}
}

// A bench is one run.
type bench struct {
	out     io.Writer
	address string
	store   *store.Store
	values  int
	length  time.Duration
	streams int
	rate    int
	readers int
	bins    int

	keys  []string // of the streams; the first has a year of values
	start int64    // when that year begins
	now   int64    // and when it ends
	most  float64  // values a second that could be written

	metadata int64 // octets on the disk without values
}

func run(ctx context.Context, args []string, out io.Writer) error {
	b := &bench{out: out}
	flags := flag.NewFlagSet("store", flag.ContinueOnError)
	flags.StringVar(&b.address, "store", "", "the `address` of an empty archive; a file that is removed afterwards, if it is not given")
	flags.IntVar(&b.values, "values", 10_000_000, "how many values are there before it is measured")
	flags.DurationVar(&b.length, "time", time.Minute, "how long writes are measured")
	flags.IntVar(&b.streams, "streams", 20_000, "how many streams write")
	flags.IntVar(&b.rate, "rate", 20_000, "how many writes come in a minute")
	flags.IntVar(&b.readers, "readers", 20, "how many read meanwhile, one query a second each")
	flags.IntVar(&b.bins, "bins", 40, "how many labels a histogram has")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 || b.values < 0 || b.length <= 0 || b.streams < 1 || b.streams > 1<<24 || b.rate < 1 || b.readers < 0 || b.bins < 1 {
		return errors.New("want flags only, and numbers above 0")
	}
	if b.address == "" {
		dir, err := os.MkdirTemp("", "owl-bench")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		b.address = filepath.Join(dir, "archive.db")
	}
	var err error
	if b.store, err = store.Open(ctx, b.address, store.Options{Log: slog.New(slog.NewTextHandler(os.Stderr, nil))}); err != nil {
		return err
	}
	defer b.store.Close()
	b.now = time.Now().Unix() / 86400 * 86400
	b.start = b.now - 365*86400
	for _, step := range []func(context.Context) error{b.register, b.fill, b.load, b.capacity, b.copyRows, b.read, b.memory} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// say prints a figure.
func (b *bench) say(name, format string, args ...any) {
	fmt.Fprintf(b.out, "%-44s %s\n", name, fmt.Sprintf(format, args...))
}

func (b *bench) register(ctx context.Context) error {
	const sums = `[{"summary-type":"aggregation","summary-window":300},{"summary-type":"aggregation","summary-window":3600},{"summary-type":"aggregation","summary-window":86400}]`
	template := `{"subject-type":"point-to-point","source":"10.%d.%d.%d","destination":"11.%[1]d.%[2]d.%[3]d","measurement-agent":"10.%[1]d.%[2]d.%[3]d",
		"input-source":"a%[1]d-%[2]d-%[3]d.example.net","input-destination":"b%[1]d-%[2]d-%[3]d.example.net","tool-name":"pscheduler/powstream",
		"time-duration":86400,"sample-size":600,"sample-bucket-width":0.0001,"time-probe-interval":0.1,"time-probe-timeout":1,"mode-flip":false,"event-types":[
		{"event-type":"failures"},{"event-type":"histogram-ttl"},{"event-type":"packet-duplicates"},{"event-type":"packet-reorders"},{"event-type":"time-error-estimates"},
		{"event-type":"packet-count-sent","summaries":` + sums + `},{"event-type":"packet-count-lost","summaries":` + sums + `},{"event-type":"packet-loss-rate","summaries":` + sums + `},
		{"event-type":"histogram-owdelay","summaries":[{"summary-type":"statistics","summary-window":0},` + strings.Trim(sums, "[]") + `,` +
		strings.ReplaceAll(strings.Trim(sums, "[]"), "aggregation", "statistics") + `]}]}`
	b.keys = make([]string, b.streams)
	begun := time.Now()
	err := b.parallel(ctx, 64, b.streams, func(ctx context.Context, i int) error {
		m, err := series.ParseMetadata(fmt.Appendf(nil, template, i>>16, i>>8&255, i&255))
		if err != nil {
			return err
		}
		if m, err = b.store.Register(ctx, m); err == nil {
			b.keys[i] = m.Key
		}
		return err
	})
	if err != nil {
		return err
	}
	if b.metadata, err = b.store.Size(ctx); err != nil {
		return err
	}
	b.say("new measurements a second", "%.0f", float64(b.streams)/time.Since(begun).Seconds())
	return nil
}

// parallel does something n times, by some at once.
func (b *bench) parallel(ctx context.Context, at, n int, do func(context.Context, int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var all sync.WaitGroup
	for range at {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// session appends what powstream sends of a session.
func (b *bench) session(all []series.Sample, at int64) []series.Sample {
	add := func(event series.EventType, text []byte) {
		k, _ := event.Kind()
		v, err := series.Parse(k, text)
		if err != nil {
			panic(err)
		}
		all = append(all, series.Sample{Time: at, Event: event, Value: v})
	}
	lost := rand.IntN(3)
	delay := []byte(`{`)
	base := 340 + rand.IntN(20)
	for i := range b.bins {
		if i > 0 {
			delay = append(delay, ',')
		}
		delay = fmt.Appendf(delay, `"%.2f":%d`, float64(base+i)/10, 1+rand.IntN(30))
	}
	add("histogram-owdelay", append(delay, '}'))
	add("histogram-ttl", fmt.Appendf(nil, `{"59":%d}`, 600-lost))
	add("packet-count-sent", []byte("600"))
	add("packet-count-lost", fmt.Appendf(nil, "%d", lost))
	add("packet-reorders", []byte("0"))
	add("packet-duplicates", []byte("0"))
	add("time-error-estimates", fmt.Appendf(nil, "0.%d", 10+rand.IntN(80)))
	add("packet-loss-rate", fmt.Appendf(nil, `{"numerator":%d,"denominator":600}`, lost))
	return all
}

const types = 8 // values of a session

// fill writes a year of one stream, as far as there are so many values, and then
// days of others.
func (b *bench) fill(ctx context.Context) error {
	const hours = 4
	begun := time.Now()
	perWrite := hours * 60 * types
	writes := b.values / perWrite
	perYear := 365 * 24 / hours
	err := b.parallel(ctx, 4, writes, func(ctx context.Context, i int) error {
		stream, at := i/perYear, b.now-int64(i%perYear+1)*hours*3600
		if stream > 0 { // a day of each
			n := i - perYear
			stream, at = 1+n/(24/hours), b.now-86400+int64(n%(24/hours))*hours*3600
		}
		if stream >= len(b.keys) {
			return errors.New("want more streams for so many values")
		}
		samples := make([]series.Sample, 0, perWrite)
		for m := range hours * 60 {
			samples = b.session(samples, at+int64(m)*60)
		}
		_, err := b.store.Write(ctx, b.keys[stream], samples)
		return err
	})
	if err != nil {
		return err
	}
	stored := writes * perWrite
	size, err := b.store.Size(ctx)
	if err != nil {
		return err
	}
	if stored > 0 {
		b.say("values stored", "%d, %.0f a second, in bodies of %d", stored, float64(stored)/time.Since(begun).Seconds(), perWrite)
		octets := float64(size-b.metadata) / float64(stored)
		b.say("octets a value, summaries included", "%.1f (histograms of %d labels)", octets, b.bins)
		summaries, err := b.summaries(ctx)
		if err != nil {
			return err
		}
		b.say("  of these in summaries", "%.1f", float64(summaries)/float64(stored))
		b.say("a day of a stream of one session a minute", "%.2f MB", octets*24*60*types/1e6)
	}
	return nil
}

// summaries returns how many octets on the disk are those of summaries.
func (b *bench) summaries(ctx context.Context) (n int64, err error) {
	if store.IsURL(b.address) {
		conn, err := pgx.Connect(ctx, b.address)
		if err != nil {
			return 0, err
		}
		defer conn.Close(ctx)
		err = conn.QueryRow(ctx, "SELECT pg_total_relation_size('folds')").Scan(&n)
		return n, err
	}
	db, err := sql.Open("sqlite", b.address) // the store's driver
	if err != nil {
		return 0, err
	}
	err = db.QueryRowContext(ctx, "SELECT sum(pgsize) FROM dbstat WHERE name = 'folds'").Scan(&n)
	return n, errors.Join(err, db.Close())
}

// load writes at the wanted rate while others read.
func (b *bench) load(ctx context.Context) error {
	reading, stop := context.WithCancel(ctx)
	var readers sync.WaitGroup
	var reads latencies
	for range b.readers {
		readers.Go(func() {
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			time.Sleep(rand.N(time.Second))
			for reading.Err() == nil {
				begun := time.Now()
				if err := b.query(reading); err != nil {
					if reading.Err() == nil {
						fmt.Fprintln(os.Stderr, "store: reader:", err)
					}
					return
				}
				reads.add(time.Since(begun))
				select {
				case <-tick.C:
				case <-reading.Done():
				}
			}
		})
	}
	var writes latencies
	n := int(int64(b.rate) * int64(b.length) / int64(time.Minute))
	begun := time.Now()
	err := b.parallel(ctx, 256, n, func(ctx context.Context, i int) error {
		due := begun.Add(time.Duration(i) * time.Minute / time.Duration(b.rate))
		time.Sleep(time.Until(due))
		_, err := b.store.Write(ctx, b.keys[i%b.streams], b.session(nil, b.now+60*int64(i/b.streams)))
		writes.add(time.Since(due)) // what waits behind a slow one counts, too
		return err
	})
	took := time.Since(begun)
	stop()
	readers.Wait()
	if err != nil {
		return err
	}
	b.say("writes a minute", "%.0f (%.0f values a second) of %d wanted, with %d readers", float64(n)/took.Minutes(), float64(n*types)/took.Seconds(), b.rate, b.readers)
	b.say("  until it is on the disk", "%s", writes.String())
	b.say("  a query meanwhile", "%s", reads.String())
	return nil
}

// query is one of those that are asked while it is written.
func (b *bench) query(ctx context.Context) error {
	key := b.keys[rand.IntN(min(len(b.keys), 1000))]
	switch rand.IntN(3) {
	case 0:
		_, err := b.count(ctx, store.Query{Key: key, Event: "histogram-owdelay", From: b.now - 86400, To: b.now + 86400, Limit: 1500})
		return err
	case 1:
		_, err := b.count(ctx, store.Query{Key: key, Event: "packet-loss-rate", Summary: series.Summary{Type: series.Aggregation, Window: 300}, From: b.now - 7*86400, To: b.now + 86400, Limit: -1})
		return err
	}
	m, err := b.store.Metadata(ctx, key)
	if err != nil {
		return err
	}
	_, _, err = b.store.Search(ctx, &store.Filter{InputSource: &m.InputSource, Event: "histogram-owdelay", Limit: 1500})
	return err
}

// count reads a series as clients get it.
func (b *bench) count(ctx context.Context, q store.Query) (n int, err error) {
	var buf []byte
	for r, err := range b.store.Read(ctx, q) {
		if err != nil {
			return n, err
		}
		buf = r.AppendJSON(buf[:0])
		n++
	}
	return n, nil
}

// capacityAt is from when on there is nothing but what capacity writes.
func (b *bench) capacityAt() int64 { return b.now + 86400 }

// capacity writes as fast as it can.
func (b *bench) capacity(ctx context.Context) error {
	n := max(b.rate/4, 1000)
	at := b.capacityAt()
	begun := time.Now()
	err := b.parallel(ctx, 64, n, func(ctx context.Context, i int) error {
		_, err := b.store.Write(ctx, b.keys[i%b.streams], b.session(nil, at+60*int64(i/b.streams)))
		return err
	})
	took := time.Since(begun)
	b.most = float64(n*types) / took.Seconds()
	b.say("writes a minute at most", "%.0f (%.0f values a second), 64 at once", float64(n)/took.Minutes(), b.most)
	return err
}

// read reads what people look at.
func (b *bench) read(ctx context.Context) error {
	for _, of := range []struct {
		name string
		q    store.Query
	}{
		{"a day of histograms of 60 s", store.Query{Event: "histogram-owdelay", From: b.now - 86400, To: b.now - 1}},
		{"a day of packet counts of 60 s", store.Query{Event: "packet-count-sent", From: b.now - 86400, To: b.now - 1}},
		{"a month of packet counts of 60 s", store.Query{Event: "packet-count-sent", From: b.now - 30*86400, To: b.now - 1}},
		{"four weeks of statistics of 300 s", store.Query{Event: "histogram-owdelay", Summary: series.Summary{Type: series.Statistics, Window: 300}, From: b.now - 28*86400, To: b.now - 1}},
		{"a year of daily statistics", store.Query{Event: "histogram-owdelay", Summary: series.Summary{Type: series.Statistics, Window: 86400}, From: b.start, To: b.now - 1}},
		{"a year of daily loss", store.Query{Event: "packet-loss-rate", Summary: series.Summary{Type: series.Aggregation, Window: 86400}, From: b.start, To: b.now - 1}},
	} {
		of.q.Key, of.q.Limit = b.keys[0], -1
		var l latencies
		n := 0
		for range 5 {
			begun := time.Now()
			var err error
			if n, err = b.count(ctx, of.q); err != nil {
				return err
			}
			l.add(time.Since(begun))
		}
		b.say(of.name, "%d, %s", n, l.String())
	}
	for _, of := range []struct {
		name string
		f    store.Filter
	}{
		{"a page of 1500 measurements", store.Filter{Limit: 1500}},
		{"  of those with an event type", store.Filter{Event: "histogram-owdelay", Limit: 1500}},
		{"  of those written today", store.Filter{Event: "histogram-owdelay", UpdatedFrom: &b.now, Limit: 1500}},
		{"  of those with a parameter", store.Filter{Parameters: map[string]string{"mode-flip": "False"}, Limit: 1500}},
	} {
		begun := time.Now()
		page, total, err := b.store.Search(ctx, &of.f)
		if err != nil {
			return err
		}
		b.say(of.name, "%d of %d, %v", len(page), total, time.Since(begun).Round(100*time.Microsecond))
	}
	return nil
}

// memory says what this process, which makes all those values, too, has taken.
func (b *bench) memory(context.Context) error {
	status, err := os.ReadFile("/proc/self/status")
	if errors.Is(err, os.ErrNotExist) {
		return nil // another system
	}
	for line := range strings.Lines(string(status)) {
		if peak, is := strings.CutPrefix(line, "VmHWM:"); is {
			b.say("memory of this process at most", "%s", strings.TrimSpace(peak))
		}
	}
	return err
}
