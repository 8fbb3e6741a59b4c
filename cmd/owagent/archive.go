package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"owl/archive"
	"owl/archive/metrics"
	"owl/archive/queue"
	"owl/cmd/internal/archiving"
	"owl/internal/agentfile"
	"owl/internal/cli"
	"owl/internal/command"
	"owl/sessions/result"
)

const defaultQueue = "/var/lib/owl/queue.db"

// hostArchives are where a host has the archives of all its programs. The first
// directory that there is counts.
var hostArchives = []string{"/etc/owl/default-archives", "/etc/pscheduler/default-archives"}

// destinations returns where the results of cfg, which is what file says, go:
// specifications, and directories of more.
func destinations(file string, cfg *agentfile.Config) (specs []*archive.Spec, dirs []string, err error) {
	var errs []error
	for _, a := range cfg.Archiving.Archives {
		read, err := archiving.Read(a.Text)
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				errs = append(errs, fmt.Errorf("%s:%d: archives: %s", file, a.Line, line))
			}
			continue
		}
		specs = append(specs, read...)
	}
	return specs, defaultArchives(cfg), errors.Join(errs...)
}

// defaultArchives returns the directories of archives that cfg has, or else this
// host.
func defaultArchives(cfg *agentfile.Config) (dirs []string) {
	if dirs = cfg.Archiving.Defaults; dirs != nil {
		return dirs
	}
	for _, dir := range hostArchives {
		if _, err := os.Stat(dir); err == nil {
			return []string{dir}
		}
	}
	return nil
}

// queueConfig returns the queue of cfg.
func queueConfig(cfg *agentfile.Config) queue.Config {
	q := &cfg.Archiving.Queue
	c := queue.Config{Path: q.Path, MaxSize: q.MaxSize, MaxAge: q.MaxAge, Full: queue.Full(q.Full), Keep: q.Keep}
	if c.Path == "" {
		c.Path = defaultQueue
	}
	return c
}

// archive brings results to where cfg says from now on. If anything is wrong with
// it, nothing has changed.
func (a *agent) archive(cfg *agentfile.Config) error {
	specs, dirs, err := destinations(a.file, cfg)
	switch {
	case err != nil:
		return err
	case a.archiver != nil:
		return a.archiver.Set(a.life, specs, dirs)
	case len(specs)+len(dirs) == 0 && (a.archival == nil || !makesResults(cfg)):
		return nil
	}
	c := archiving.Config{Queue: queueConfig(cfg), Specs: specs, Defaults: dirs, Log: a.log}
	if a.archival != nil {
		c.Store = a.archival.store
	}
	archiver, err := archiving.Open(a.life, c)
	if err != nil {
		return err
	}
	if a.registry != nil {
		err = metrics.Register(a.registry, archiver.Queue().Stats, nil)
	}
	a.mu.Lock()
	a.archiver = archiver
	a.mu.Unlock()
	return err
}

// makesResults reports whether there is anything in cfg that makes results.
func makesResults(cfg *agentfile.Config) bool { return len(cfg.Streams)+len(cfg.Clock.NTP) > 0 }

// queued returns the queue of results; nil: they go nowhere.
func (a *agent) queued() *queue.Queue {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.archiver == nil {
		return nil
	}
	return a.archiver.Queue()
}

// results say what becomes of what a stream measures.
type results struct {
	wanted bool
	parts  bool // they are those of sub-sessions
	raw    bool // they have all their packets
}

// results returns what is to become of what the streams of cfg measure.
func (a *agent) results(cfg *agentfile.Config) results {
	return results{a.archiver != nil, cfg.Archiving.Parts, a.archiver != nil && a.archiver.Raw()}
}

// task returns what the results of a stream have in common.
func task(cfg *agentfile.Config, spec *agentfile.Stream) result.TaskConfig {
	peer, _, _ := cli.ParseHostPort(spec.Peer, cli.DefaultPort)
	return result.TaskConfig{
		Tool:        "powstream",
		ToolVersion: command.Version,
		Name:        spec.Name,
		Host:        cfg.Host,
		Local:       archiving.LocalEnd(spec.Client.Source),
		Remote:      peer,
		ControlPort: archiving.ControlPort(spec.Server, spec.Peer),
		DataPorts:   [2]uint16{cfg.Ports.Low, cfg.Ports.High},
		IPVersion:   int(spec.Client.Family),
	}
}
