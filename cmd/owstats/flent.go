package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"owl/archive/dest/flent/datafile"
	"owl/archive/dest/flent/hostfacts"
	"owl/archive/iso8601"
	"owl/internal/aside"
	"owl/internal/command"
	"owl/internal/getopt"
	"owl/internal/hostname"
	"owl/internal/report"
	"owl/owamp"
	"owl/owamp/owp"
	"owl/owamp/stats"
)

// flentOptions say what data file of Flent is to be made.
type flentOptions struct {
	out      string // a file, or a directory; empty: none is
	test     datafile.Test
	period   time.Duration
	suffix   string
	extended bool
	remotes  []string
	given    string // one of the options beside --flent
}

var flentLong = []getopt.Long{
	{Name: "flent", Arg: true},
	{Name: "title", Arg: true},
	{Name: "note", Arg: true},
	{Name: "test-name", Arg: true},
	{Name: "step-size", Arg: true},
	{Name: "period", Arg: true},
	{Name: "suffix", Arg: true},
	{Name: "extended-metadata"},
	{Name: "remote-metadata", Arg: true},
}

const flentUsage = `   --flent OUT    write a data file of Flent with all packets of all session files, and print its name:
                  OUT is the file, ending in .flent.gz or .json.gz, or a directory. Without this
                  option session files may be such files, whose summary is printed
   --title TITLE  what the data file is called
   --note NOTE    what else is to be known of it
   --test-name NAME
                  whose plots it is for: ping (default), for any number of pairs of hosts, or voip, a
                  file for each direction of each pair
   --step-size S  seconds from one row of its table to the next (default 0.2)
   --period P     one file for each period (PT1H, P1D; in UTC), by where sessions start
   --suffix S     with a directory: how names end, .flent.gz (default) or .json.gz
   --extended-metadata
                  what this host says of itself now: its kernel, addresses, gateways, the way out
   --remote-metadata HOST
                  the same of another host, by ssh, too; may be given more than once
`

// set takes one option over, and reports whether it is one of these.
func (o *flentOptions) set(name, value string) (ok bool, err error) {
	switch name {
	case "flent":
		if o.out = value; value == "" {
			err = errors.New("want the name of a file or a directory")
		}
		return true, err
	case "title":
		o.test.Title = value
	case "note":
		o.test.Note = value
	case "test-name":
		if o.test.Name = value; value != datafile.Ping && value != datafile.VoIP {
			err = fmt.Errorf("%q: want %s or %s", value, datafile.Ping, datafile.VoIP)
		}
	case "step-size":
		o.test.Step, err = datafile.ParseStep(value)
	case "period":
		o.period, err = iso8601.ParseDuration(value)
		if err == nil && o.period < time.Second {
			err = fmt.Errorf("%q: want at least a second", value)
		}
	case "suffix":
		if o.suffix = value; value != datafile.Suffix && value != datafile.OldSuffix {
			err = fmt.Errorf("%q: want %s or %s", value, datafile.Suffix, datafile.OldSuffix)
		}
	case "extended-metadata":
		o.extended = true
	case "remote-metadata":
		if o.remotes = append(o.remotes, value); value == "" || value[0] == '-' {
			err = fmt.Errorf("%q: want a host", value)
		}
	default:
		return false, nil
	}
	o.given = name
	return true, err
}

// validate refuses what does not go together.
func (o *flentOptions) validate(r *report.Options) error {
	if o.out == "" {
		if o.given != "" {
			return fmt.Errorf("option --%s: want --flent, too", o.given)
		}
		return nil
	}
	o.test.Name = cmp.Or(o.test.Name, datafile.Ping)
	if letter := beside(r); letter != "" {
		return fmt.Errorf("options --flent and %s: want one of them", letter)
	}
	return nil
}

// beside returns an option that asks for another output, if there is one.
func beside(r *report.Options) string {
	for _, other := range []struct {
		given bool
		name  string
	}{
		{r.Machine, "-M"}, {r.Raw, "-R"}, {r.Verbose, "-v"}, {r.Part != 0, "-N"}, {r.Save, "-p"},
		{r.JSON, "--json"}, {r.Salvage, "--salvage"},
	} {
		if other.given {
			return other.name
		}
	}
	return ""
}

// A flentSession is a session file that goes into a data file.
type flentSession struct {
	path   string
	header owp.Header
	period int64
}

// A flentPath is what has gone one way between two hosts.
type flentPath struct {
	sender, receiver netip.Addr
	typeP            uint32
	name             string
	sessions         []*flentSession
}

// write writes the data files of session files.
func (o *flentOptions) write(ctx context.Context, files []string, names *hostname.Cache, stdout io.Writer, say func(string)) error {
	sessions := make([]*flentSession, len(files))
	for i, file := range files {
		r, err := owp.Open(file)
		if err != nil {
			return err
		}
		s := &flentSession{path: file, header: *r.Header()}
		if err := r.Close(); err != nil {
			return err
		}
		if s.header.Version < 2 {
			return fmt.Errorf("%s: version %d says nothing of its session: want 2 or 3", file, s.header.Version)
		}
		if o.period > 0 {
			s.period = s.header.Spec.Start.Time().UnixNano() / int64(o.period)
		}
		sessions[i] = s
	}
	slices.SortStableFunc(sessions, func(a, b *flentSession) int {
		return cmp.Or(cmp.Compare(a.period, b.period), cmp.Compare(int64(a.header.Spec.Start-b.header.Spec.Start), 0))
	})
	var groups [][]*flentPath
	for first := 0; first < len(sessions); {
		last := first
		for last < len(sessions) && sessions[last].period == sessions[first].period {
			last++
		}
		paths := pathsOf(sessions[first:last], names)
		if o.test.Name == datafile.VoIP {
			groups = slices.AppendSeq(groups, slices.Chunk(paths, 1))
		} else {
			groups = append(groups, paths)
		}
		first = last
	}
	if info, err := os.Stat(o.out); err == nil && info.IsDir() {
		for _, paths := range groups {
			if err := o.writeFile(ctx, paths, len(groups) > 1, stdout, say); err != nil {
				return err
			}
		}
		return nil
	}
	switch {
	case o.suffix != "":
		return fmt.Errorf("%s: option --suffix: want a directory that is there", o.out)
	case len(groups) > 1:
		return fmt.Errorf("%s: %d data files: want a directory that is there", o.out, len(groups))
	case !strings.HasSuffix(o.out, datafile.Suffix) && !strings.HasSuffix(o.out, datafile.OldSuffix):
		return fmt.Errorf("%s: want a directory, or a name that ends in %s or %s", o.out, datafile.Suffix, datafile.OldSuffix)
	}
	return o.writeFile(ctx, groups[0], false, stdout, say)
}

// pathsOf sorts sessions by where they go. The paths are in the order of their
// first sessions.
func pathsOf(sessions []*flentSession, names *hostname.Cache) []*flentPath {
	var paths []*flentPath
	for _, s := range sessions {
		spec := &s.header.Spec
		i := slices.IndexFunc(paths, func(p *flentPath) bool {
			return p.sender == spec.Sender.Addr() && p.receiver == spec.Receiver.Addr() && p.typeP == spec.TypeP
		})
		if i < 0 {
			n := names.Names(spec.Sender.Addr(), spec.Receiver.Addr())
			name := n.From + " to " + n.To
			if dscp, ok := spec.DSCP(); ok && dscp != 0 {
				name += fmt.Sprintf(" (DSCP %d)", dscp)
			}
			i = len(paths)
			paths = append(paths, &flentPath{spec.Sender.Addr(), spec.Receiver.Addr(), spec.TypeP, name, nil})
		}
		paths[i].sessions = append(paths[i].sessions, s)
	}
	return paths
}

// writeFile writes one data file and prints its name. One of several of the test
// VoIP has its path in its title.
func (o *flentOptions) writeFile(ctx context.Context, paths []*flentPath, several bool, stdout io.Writer, say func(string)) error {
	t := o.test
	t.Program = "Owl " + command.Version
	var there netip.Addr
	t.LocalHost, there, t.Hosts = ends(paths)
	t.IPVersion = 4
	if there.Is6() {
		t.IPVersion = 6
	}
	labels := make([]string, len(paths))
	for i, p := range paths {
		labels[i] = p.name
	}
	if o.extended || o.remotes != nil {
		t.Metadata = hostfacts.Gather(ctx, hostfacts.Request{Target: there, Extended: true, Remotes: o.remotes})
		failed, _ := t.Metadata[hostfacts.ErrorsName].([]string)
		for _, why := range failed {
			say("metadata of " + why)
		}
	}
	for i, label := range datafile.Labels(labels) {
		about, err := paths[i].summarize(ctx)
		if err != nil {
			return err
		}
		t.Paths = append(t.Paths, datafile.Path{Label: label, Samples: paths[i].samples(ctx), Metadata: about})
	}
	if several && t.Name == datafile.VoIP {
		t.Title = strings.TrimSpace(t.Title + " " + labels[0])
	}
	w, err := datafile.NewWriter(&t)
	if err != nil {
		if errors.Is(err, datafile.ErrNoPackets) {
			err = fmt.Errorf("%s: %w", paths[0].sessions[0].path, err)
		}
		return err
	}
	path := o.out
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, w.FileName(cmp.Or(o.suffix, datafile.Suffix)))
	}
	file, err := aside.Replace(path, "owstats")
	if err != nil {
		return err
	}
	defer file.Close()
	if err := w.Write(file, filepath.Base(path)); err != nil {
		return err
	}
	if err := file.Commit(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(stdout, path)
	return err
}

// ends returns which host has measured, the other end of the first path, and all
// others: this host is the one that has measured, and where it is none of them the
// first sender.
func ends(paths []*flentPath) (here string, there netip.Addr, others []string) {
	ours := make(map[netip.Addr]bool)
	addrs, _ := net.InterfaceAddrs() // without them it is the sender
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			ours[p.Addr()] = true
		}
	}
	local, there := paths[0].sender.Unmap(), paths[0].receiver.Unmap()
	if ours[there] && !ours[local] {
		local, there = there, local
	}
	others = []string{there.String()}
	for _, p := range paths {
		for _, a := range []netip.Addr{p.sender.Unmap(), p.receiver.Unmap()} {
			if a != local && !slices.Contains(others, a.String()) {
				others = append(others, a.String())
			}
		}
	}
	return local.String(), there, others
}

// each calls observe with each record of the file that counts.
func (s *flentSession) each(ctx context.Context, observe func(*owamp.Record)) (*stats.Summary, error) {
	r, err := owp.Open(s.path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	h := r.Header()
	batches := func(yield func([]owamp.Record, error) bool) {
		for recs, err := range r.Batches(0) {
			if ctx.Err() != nil {
				yield(nil, errors.New("interrupted"))
				return
			}
			if !yield(recs, err) {
				return
			}
		}
	}
	sum, err := stats.Summarize(&stats.Session{
		Spec:     h.Spec,
		Finished: h.Finished == owp.Normal,
		NextSeq:  h.NextSeq,
		Skips:    r.Skips(),
	}, batches, stats.Options{Each: observe})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.path, err)
	}
	return sum, nil
}

// samples yields what became of the packets of a path.
func (p *flentPath) samples(ctx context.Context) iter.Seq2[datafile.Sample, error] {
	return func(yield func(datafile.Sample, error) bool) {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		enough := false
		for i, s := range p.sessions {
			_, err := s.each(ctx, func(r *owamp.Record) {
				if enough {
					return
				}
				sec, nsec := r.Sent.Unix()
				k := datafile.Sample{Sent: sec*1e9 + nsec, Session: uint32(i), Seq: r.Seq, Lost: r.Lost()}
				if !k.Lost {
					k.Delay = int64(r.Recv.Sub(r.Sent))
				}
				if enough = !yield(k, nil); enough {
					stop()
				}
			})
			if enough {
				return
			}
			if err != nil {
				yield(datafile.Sample{}, err)
				return
			}
		}
	}
}

// summarize returns what the data file is to say of a path, which is what owstats
// prints of its sessions.
func (p *flentPath) summarize(ctx context.Context) (map[string]any, error) {
	var duplicates uint64
	maxError, synchronized := 0.0, true
	sids := make([]string, len(p.sessions))
	for i, s := range p.sessions {
		sum, err := s.each(ctx, nil)
		if err != nil {
			return nil, err
		}
		sids[i] = s.header.Spec.SID.String()
		duplicates += uint64(sum.Duplicates)
		maxError = max(maxError, sum.MaxError)
		synchronized = synchronized && sum.Synced
	}
	spec := &p.sessions[0].header.Spec
	return map[string]any{
		"OWAMP_SENDER":       spec.Sender.String(),
		"OWAMP_RECEIVER":     spec.Receiver.String(),
		"OWAMP_SESSIONS":     sids,
		"OWAMP_DUPLICATES":   duplicates,
		"OWAMP_SYNCHRONIZED": synchronized,
		"OWAMP_MAX_ERROR_MS": maxError * 1e3,
	}, nil
}
