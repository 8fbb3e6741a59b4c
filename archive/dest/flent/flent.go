// Package flent is the destination that makes data files of Flent, the network
// tester, of results: one for each, or one for all of a period.
//
// What a file of a period is to have is on the disk, in a hidden spool beside it,
// before a result counts as delivered. When the period is over the file is
// written aside, gets its name, and the spool goes. Spools that a process has left
// behind are taken up by the next. A result that comes again is told by its ID: in
// the spool, or in the metadata of the files that are there.
package flent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"owl/archive"
	"owl/archive/dest/flent/datafile"
	"owl/archive/dest/flent/hostfacts"
	"owl/archive/member"
	"owl/archive/retry"
)

const (
	// quiet is how long nothing may have come for a period that is over before its
	// file is made.
	quiet = 30 * time.Second
	// recheck is when a file that could not be made is tried again, if no result
	// comes before.
	recheck = time.Minute
	// maxOpen bounds the spools that are open at once; of more, the file of that
	// which has waited longest is made.
	maxOpen = 64
	// finishTimeout bounds the making of files at the end, or by the clock.
	finishTimeout = 2 * time.Minute
	maxRemotes    = 32
	maxText       = 10_000 // octets of a title or a note
	minPeriod     = time.Second
	maxPeriod     = 366 * 24 * time.Hour
)

// Program is what files call the program that writes them.
const Program = "Owl"

// A destination writes data files into a directory.
type destination struct {
	settings
	dir   string
	now   func() time.Time
	facts func(context.Context, hostfacts.Request) map[string]any

	turn   chan struct{} // who has put something in may use what follows
	looked bool          // for spools that were left behind
	open   map[spoolKey]*spool
	timer  *time.Timer
	closed bool
}

// A spoolKey says what goes into a file.
type spoolKey struct {
	period int64
	task   string
}

// Open reads the data of a specification.
func Open(o *member.Object, _ *archive.Spec) (archive.Opened, error) {
	o.Schema(1)
	o.Need("dir")
	d := &destination{
		dir: o.Text("dir"),
		settings: settings{
			Title:    o.String("title"),
			Note:     o.String("note"),
			Test:     o.Option("test-name", datafile.Ping, datafile.VoIP),
			Step:     datafile.DefaultStep,
			Suffix:   o.Option("suffix", datafile.Suffix, datafile.OldSuffix),
			Extended: o.Bool("extended-metadata", false),
			Remotes:  readRemotes(o),
			Period:   o.Duration("period", 0),
		},
		now:   time.Now,
		facts: hostfacts.Gather,
		turn:  make(chan struct{}, 1),
		open:  make(map[spoolKey]*spool),
	}
	if d.dir != "" && !filepath.IsAbs(d.dir) {
		o.Fail("dir", "%q: want one that begins with /", d.dir)
	}
	if o.Has("step-size") {
		number, _ := o.Any("step-size").(json.Number)
		var err error
		if d.Step, err = datafile.ParseStep(number.String()); err != nil {
			o.Fail("step-size", "%v", err)
		}
	}
	if o.Has("period") && o.Err() == nil && (d.Period < minPeriod || d.Period > maxPeriod) {
		o.Fail("period", "want from a second to 366 days")
	}
	for name, text := range map[string]string{"title": d.Title, "note": d.Note} {
		if len(text) > maxText {
			o.Fail(name, "%d octets: want at most %d", len(text), maxText)
		}
	}
	return archive.Opened{Destination: d, Retry: retry.Read(o, false)}, nil
}

// readRemotes reads the hosts that are asked by ssh: one, or an array of them.
func readRemotes(o *member.Object) []string {
	const name = "remote-metadata"
	if !o.Has(name) {
		return nil
	}
	var hosts []string
	list, ok := o.Any(name).([]any)
	if !ok {
		list = []any{o.Any(name)}
	}
	for _, v := range list {
		host, ok := v.(string)
		if !ok || host == "" || strings.HasPrefix(host, "-") {
			o.Fail(name, "%s: want a host as ssh knows it, or an array of them", member.Kind(v))
			return nil
		}
		hosts = append(hosts, host)
	}
	if len(hosts) > maxRemotes {
		o.Fail(name, "%d hosts: want at most %d", len(hosts), maxRemotes)
	}
	return hosts
}

// Deliver implements [archive.Destination].
func (d *destination) Deliver(ctx context.Context, item *archive.Item) error {
	p, err := read(item)
	if err != nil {
		return archive.Final(err)
	}
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := d.look(ctx); err != nil {
		return err
	}
	// What is due first: where it fails nothing more is taken.
	if err := d.finishDue(ctx); err != nil || p == nil {
		return err
	}
	if d.Period == 0 {
		parts := []*part{p}
		return write(ctx, d.dir, d.Suffix, d.testOf(Program, parts, d.gather(ctx, p)))
	}
	return d.collect(ctx, p)
}

// gather finds out what files say of hosts.
func (d *destination) gather(ctx context.Context, p *part) map[string]any {
	return d.facts(ctx, hostfacts.Request{Target: p.Target, Extended: d.Extended, Remotes: d.Remotes})
}

// collect puts a result into the spool of its period.
func (d *destination) collect(ctx context.Context, p *part) error {
	key := spoolKey{period: floorDiv(p.Begin, int64(d.Period))}
	if d.Test == datafile.VoIP {
		key.task = p.Task + " " + p.Source + " " + p.Dest
	}
	s := d.open[key]
	if s == nil {
		for len(d.open) >= maxOpen {
			if err := d.finish(ctx, d.oldest()); err != nil {
				return err
			}
		}
		var err error
		h := header{spoolFormat, d.settings, key.period, key.task, d.gather(ctx, p)}
		if s, err = createSpool(d.dir, h, d.now()); err != nil {
			return err
		}
		d.open[key] = s
		d.wake(time.Second)
	}
	if s.known[p.ID] {
		return nil
	}
	if err := s.append(p, d.now()); err != nil {
		return err
	}
	if s.size >= maxSpool || len(s.parts) >= maxParts {
		// The result has been taken, whatever becomes of the file now.
		_ = d.finish(ctx, key)
	}
	return nil
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// look takes up the spools that other processes have left behind. What they have
// that we would not write so becomes a file at once.
func (d *destination) look(ctx context.Context) error {
	if d.looked {
		return nil
	}
	paths, err := spoolsIn(d.dir)
	if err != nil {
		return err
	}
	for _, path := range paths {
		s, err := openSpool(path, d.now())
		if err != nil {
			continue // another process has it, or it is none
		}
		key := spoolKey{s.Period, s.Task}
		if len(s.parts) > 0 && d.open[key] == nil && s.Settings.equal(&d.settings) {
			d.open[key] = s
			continue
		}
		if err := d.make(ctx, s); err != nil {
			s.f.Close() // whoever looks next takes it up
			return err
		}
	}
	d.looked = true
	d.wake(time.Second)
	return nil
}

// oldest returns the open spool that has waited longest.
func (d *destination) oldest() spoolKey {
	return slices.MinFunc(slices.Collect(maps.Keys(d.open)), func(a, b spoolKey) int {
		return d.open[a].last.Compare(d.open[b].last)
	})
}

// due returns when the file of a spool is to be made: when what began in its
// period has had the time to come.
func (s *spool) due() time.Time {
	due := s.end().Add(s.longest)
	if due.Before(s.last) {
		due = s.last
	}
	return due.Add(quiet)
}

// finishDue makes the files that are due.
func (d *destination) finishDue(ctx context.Context) error {
	now := d.now()
	var errs []error
	for key, s := range d.open {
		if !s.due().After(now) {
			errs = append(errs, d.finish(ctx, key))
		}
	}
	return errors.Join(errs...)
}

// finish makes the file of an open spool.
func (d *destination) finish(ctx context.Context, key spoolKey) error {
	if err := d.make(ctx, d.open[key]); err != nil {
		return err
	}
	delete(d.open, key)
	return nil
}

// make makes the file of a spool and removes the spool. Results that a file has
// already are left out: their delivery was not noted.
func (d *destination) make(ctx context.Context, s *spool) error {
	parts := s.parts
	if len(parts) > 0 {
		written, err := d.written(s)
		if err != nil {
			return err
		}
		parts = slices.DeleteFunc(slices.Clone(parts), func(p *part) bool { return written[p.ID] })
	}
	if len(parts) > 0 {
		slices.SortStableFunc(parts, func(a, b *part) int {
			return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Dest, b.Dest), cmp.Compare(a.Task, b.Task))
		})
		hostfacts.Finish(s.Facts)
		if err := write(ctx, d.dir, s.Settings.Suffix, s.Settings.testOf(Program, parts, s.Facts)); err != nil {
			return err
		}
	}
	return s.remove()
}

// written returns the IDs of the results in the files of a spool's period.
func (d *destination) written(s *spool) (map[string]bool, error) {
	// Of an hour the clocks of people have two, once a year.
	const tolerance = time.Hour
	from, to := s.end().Add(-s.Settings.Period-tolerance), s.end().Add(tolerance)
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, err
	}
	all := make(map[string]bool)
	for _, e := range entries {
		at, ok := datafile.NameTime(e.Name(), s.Settings.Test)
		if !ok || at.Before(from) || at.After(to) {
			continue
		}
		ids, err := resultsIn(filepath.Join(d.dir, e.Name()))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		for _, id := range ids {
			all[id] = true
		}
	}
	return all, nil
}

// wake has the files made that are due while no result comes, not before least has
// passed.
func (d *destination) wake(least time.Duration) {
	if d.closed || len(d.open) == 0 {
		return
	}
	wait := recheck
	for _, s := range d.open {
		wait = min(wait, max(s.due().Sub(d.now()), least))
	}
	if d.timer != nil {
		d.timer.Stop()
	}
	d.timer = time.AfterFunc(wait, func() {
		d.turn <- struct{}{}
		defer func() { <-d.turn }()
		if d.closed {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), finishTimeout)
		defer cancel()
		// What fails is told at the next delivery, which tries it again.
		if d.finishDue(ctx) != nil {
			d.wake(recheck)
			return
		}
		d.wake(time.Second)
	})
}

// Close makes the files of all periods, as far as they have come. What fails
// stays, and the next process takes it up.
func (d *destination) Close() error {
	d.turn <- struct{}{}
	defer func() { <-d.turn }()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.closed = true
	ctx, cancel := context.WithTimeout(context.Background(), finishTimeout)
	defer cancel()
	var errs []error
	for key, s := range d.open {
		if err := d.finish(ctx, key); err != nil {
			errs = append(errs, err, s.f.Close())
		}
	}
	return errors.Join(errs...)
}
