package main

import (
	"fmt"
	"log/slog"
	"slices"
)

// A reloader reads the files of a daemon again, at a hangup.
type reloader struct {
	d       *daemon
	dir     string   // that a relative confdir is below; "": the current one
	args    []string // without the program's name
	level   *slog.LevelVar
	inForce *options
}

// reload puts what the files say now in force: all of it, or nothing if anything
// is wrong.
func (r *reloader) reload() {
	log := r.d.log
	o, err := parse(r.dir, r.args)
	if err == nil {
		o.keepPassphrases(r.inForce)
		err = o.checkUsers()
	}
	if err != nil {
		for _, line := range apart(err) {
			log.Error("not reloaded, what was in force stays: " + line)
		}
		return
	}
	r.level.Set(o.logLevel())
	r.d.server.Reload(o.settings(), o.limits)
	r.d.dieBy = o.dieBy
	if o.unreadable == nil {
		log.Info("configuration, limits and pass-phrases reloaded")
	} else {
		log.Warn(fmt.Sprintf("configuration and limits reloaded; the pass-phrases stay what they were: %v", o.unreadable))
	}
	for _, remark := range o.remarks {
		if !slices.Contains(r.inForce.remarks, remark) {
			log.Warn(remark)
		}
	}
	for _, k := range keys {
		was, is := k.text(r.inForce), k.text(o)
		switch {
		case was == is:
		case k.restart:
			log.Warn(fmt.Sprintf("%s has changed from %s to %s: restart owampd for it to take effect", k.name, orNone(was), orNone(is)))
		default:
			log.Info(fmt.Sprintf("%s is now %s, was %s", k.name, orNone(is), orNone(was)))
		}
	}
	if o.limits.String() != r.inForce.limits.String() {
		log.Info("the limits are others now")
	}
	was := r.inForce.offered()
	r.inForce.adopt(o)
	if is := r.inForce.offered(); was != is {
		log.Info(fmt.Sprintf("modes that are offered are now %v, were %v", is, was))
	}
}

// adopt takes over from newer options what does not need a restart.
func (o *options) adopt(newer *options) {
	o.ports, o.endDelay, o.controlTimeout = newer.ports, newer.endDelay, newer.controlTimeout
	o.maxConnections, o.diskFudge, o.retention, o.dieBy = newer.maxConnections, newer.diskFudge, newer.retention, newer.dieBy
	o.level, o.levelGiven, o.verbose = newer.level, newer.levelGiven, newer.verbose
	o.iterations, o.limits, o.remarks = newer.iterations, newer.limits, newer.remarks
	o.passphrases, o.keysFile = newer.passphrases, newer.keysFile
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
