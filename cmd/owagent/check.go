package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"owl/cmd/internal/archiving"
	"owl/internal/agentfile"
	"owl/internal/cli"
	"owl/internal/table"
)

// check is the command check: it says what a file has measured, and starts
// nothing.
func check(o *options, stdout io.Writer) error {
	file := o.operands[0]
	host, err := o.hostName()
	if err != nil {
		return err
	}
	cfg, err := agentfile.Load(file, host)
	if err != nil {
		return err
	}
	_, keyNotes, keyErr := readKeys(cfg)
	_, _, serverNotes, serverErr := readServer(cfg.Server)
	specs, dirs, archiveErr := destinations(file, cfg)
	more, err := archiving.ReadDirectories(dirs)
	var badNotes []string // what is wrong there keeps nothing else from being used
	if err != nil {
		badNotes = strings.Split(err.Error(), "\n")
	}
	_, storeErr := readArchive(file, cfg.Archive)
	if err := errors.Join(keyErr, serverErr, archiveErr, storeErr); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s: right. On %s: %d streams, %.6g packets/s of %d\n", file, cfg.Host, len(cfg.Streams), cfg.Rate(), cfg.Budget)
	if s := cfg.Server; s != nil {
		fmt.Fprintf(stdout, "server at %s, modes %v\n", s.Listen, s.Modes)
	}
	if c := cfg.Archive; c != nil {
		fmt.Fprintf(stdout, "measurement archive at %s\nresults go to %s, the measurement archive\n", c.Listen, archiving.OwnName)
	}
	if cfg.Metrics != "" {
		fmt.Fprintf(stdout, "metrics at %s\n", cfg.Metrics)
	}
	for _, s := range specs {
		fmt.Fprintf(stdout, "results go to %s\n", table.Plain(s.Name()))
	}
	for _, s := range more {
		fmt.Fprintf(stdout, "results go to %s, a default archive\n", table.Plain(s.Name()))
	}
	asked := cli.ClockOptions{Sources: cfg.Clock}
	for _, line := range append(cfg.Engine.Describe(), asked.Describe()...) {
		fmt.Fprintln(stdout, line)
	}
	for _, line := range slices.Concat(cfg.Remarks, keyNotes, serverNotes, badNotes, warnDescriptors(cfg)) {
		fmt.Fprintf(stdout, "note: %s\n", line)
	}
	if len(cfg.Streams) == 0 {
		return nil
	}
	fmt.Fprintln(stdout)
	tw := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "stream\tdirection\tpeer\tpackets/s\tsession\tfiles")
	for i := range cfg.Streams {
		s := &cfg.Streams[i]
		dir := s.Dir
		if dir == "" {
			dir = "-"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%.6g\t%s\t%s\n", s.Name, s.Direction, table.Plain(s.Peer), s.Rate(), sessionLength(s), table.Plain(dir))
	}
	return tw.Flush()
}

// sessionLength returns how long a session of s is expected to last.
func sessionLength(s *agentfile.Stream) time.Duration {
	seconds := float64(s.Packets) * s.Interval.Seconds()
	return time.Duration(min(seconds, 1e9) * float64(time.Second)).Round(time.Millisecond)
}
