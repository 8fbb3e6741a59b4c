package mapping

import (
	"encoding/json"
	"net"
	"strconv"
)

// clockTest is the test of how good clocks are. pScheduler's archiver has no
// mapping for it; here it becomes the ntp-* event types, as metadata of the one
// host whose clock it is.
const clockTest = "clock"

// A gauge is a figure of a clock.
type gauge struct {
	eventType string
	member    string                            // of a source
	unit      func(float64) (json.Number, bool) // as esmond has it
	standing  bool                              // it is known of a source that does not answer, too
}

// What each source of time has, and nothing that it only seems to have: chronyd
// has a reach of its servers, which it does not tell, and a query of a server says
// nothing of how the frequency wanders.
var gauges = map[string][]gauge{
	"chrony": {stratum, offset, delay, dispersion, jitter, poll, wander},
	"ntp":    {stratum, reach, offset, delay, dispersion, jitter, poll},
}

var (
	stratum    = gauge{"ntp-stratum", "stratum", integer, true}
	reach      = gauge{"ntp-reach", "reach", octal, true}
	offset     = gauge{"ntp-offset", "offset_s", thousandths, false}
	delay      = gauge{"ntp-delay", "root_delay_s", thousandths, false}
	dispersion = gauge{"ntp-dispersion", "root_dispersion_s", thousandths, false}
	jitter     = gauge{"ntp-jitter", "jitter_s", thousandths, false}
	poll       = gauge{"ntp-polling-interval", "poll_s", plain, false}
	wander     = gauge{"ntp-wander", "wander_ppm", plain, false}
)

// clock returns the records of a clock result: one for each source of time in
// owl.sources, whose members are those of clock.sources in owagent's status; and
// one for each of pScheduler's states, local and remote, which know of an offset
// alone. A local state is not looked at if there are sources.
func (m *Mapper) clock(d *document) []Record {
	result, ok := d.succeeded()
	if !ok {
		r := m.state(d, d.source, nil)
		r.Values = append([]Value{d.failure()}, r.Values...)
		return []Record{r}
	}
	var all []Record
	for _, e := range listOf(objectOf(result["owl"])["sources"]) {
		source := objectOf(e)
		if via := textOf(source["via"]); gauges[via] != nil {
			all = append(all, m.timeSource(d, via, source))
		}
	}
	if len(all) == 0 {
		all = append(all, m.state(d, d.source, objectOf(result["local"])))
	}
	if remote := objectOf(result["remote"]); remote != nil && textOf(d.spec["dest"]) != "" {
		all = append(all, m.state(d, textOf(d.spec["dest"]), remote))
	}
	return all
}

// ofHost returns a record of one host, which may be named with its port.
func (m *Mapper) ofHost(d *document, host string, eventTypes ...string) Record {
	r := m.record(d, host, "", eventTypes...)
	if name, _, err := net.SplitHostPort(host); err == nil && name != "" {
		r.Source = name
	}
	return r
}

// state returns the record of a state of pScheduler's.
func (m *Mapper) state(d *document, host string, state object) Record {
	r := m.ofHost(d, host, failures, offset.eventType, runHref)
	var v values
	if _, s, ok := numberOf(state["offset"]); ok {
		if ms, ok := thousandths(s); ok {
			v.add(offset.eventType, ms)
		}
	}
	r.Values = v
	r.addHref(d)
	return r
}

// timeSource returns the record of a source of time. Of one that has not answered
// the last question there is why, and no figures of the time before.
func (m *Mapper) timeSource(d *document, via string, source object) Record {
	types := []string{failures}
	for _, g := range gauges[via] {
		types = append(types, g.eventType)
	}
	r := m.ofHost(d, d.source, append(types, runHref)...)
	r.Metadata["clock-via"] = via
	if server := textOf(source["server"]); server != "" {
		r.Metadata["clock-server"] = server
	}
	var v values
	why := textOf(source["error"])
	if why != "" {
		v.add(failures, map[string]any{"error": why})
	}
	answered := why == "" && !isEmpty(source["last"])
	for _, g := range gauges[via] {
		if _, f, ok := numberOf(source[g.member]); ok && (answered || g.standing) {
			if n, ok := g.unit(f); ok {
				v.add(g.eventType, n)
			}
		}
	}
	r.Values = v
	r.addHref(d)
	return r
}

func plain(f float64) (json.Number, bool) { return decimal(f), true }

// thousandths returns seconds as milliseconds.
func thousandths(f float64) (json.Number, bool) { return decimal(f * 1000), f < 1e300 && f > -1e300 }

func integer(f float64) (json.Number, bool) {
	return json.Number(strconv.Itoa(int(f))), f >= 0 && f <= 255
}

// octal returns a reach as ntpq prints it, by its octal digits: 377 is all eight.
func octal(f float64) (json.Number, bool) {
	if f < 0 || f > 255 {
		return "", false
	}
	return json.Number(strconv.FormatUint(uint64(f), 8)), true
}
