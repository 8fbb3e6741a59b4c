// Package dest has the destinations that results go to. They take what the
// archivers of pScheduler take, in all their schemas, and what those only
// promise: a result is delivered when the destination has said so.
package dest

import (
	"encoding/json"
	"fmt"
	"strings"

	"owl/archive"
	"owl/archive/dest/esmond"
	"owl/archive/dest/flent"
	"owl/archive/dest/kafka"
	"owl/archive/dest/postgresql"
	"owl/archive/dest/rabbitmq"
	"owl/archive/member"
)

// An opener reads the data of one archiver. What is wrong with them it notes in
// o.
type opener func(o *member.Object, s *archive.Spec) (archive.Opened, error)

// Names are the archivers that there are.
var Names = []string{"bitbucket", "esmond", "exec", "failer", "file", "flent", "http", "kafka", "postgresql", "rabbitmq", "snmptrap", "syslog", "tcp", "udp"}

// openerOf returns the opener of an archiver; nil: there is none.
func openerOf(archiver string) opener {
	switch archiver {
	case "bitbucket":
		return openBitbucket
	case "esmond":
		return esmond.Open
	case "exec":
		return openExec
	case "failer":
		return openFailer
	case "file":
		return openFile
	case "flent":
		return flent.Open
	case "http":
		return openHTTP
	case "kafka":
		return kafka.Open
	case "postgresql":
		return postgresql.Open
	case "rabbitmq":
		return rabbitmq.Open
	case "snmptrap":
		return openSNMPTrap
	case "syslog":
		return openSyslog
	case "tcp":
		return openTCP
	case "udp":
		return openUDP
	}
	return nil
}

// Open returns the destination of a specification, ready to be used. It reaches
// out to nobody; only exec has the plugin look at its data. What an error tells of
// is a line for each thing that is wrong, with its path in the specification.
// No error of the destination has a secret in it.
func Open(s *archive.Spec) (archive.Opened, error) {
	open := openerOf(s.Archiver)
	if open == nil {
		return archive.Opened{}, fmt.Errorf("/archiver: %q: want one of %s", s.Archiver, strings.Join(Names, ", "))
	}
	data := s.Data
	if string(data) == "null" {
		data = []byte("{}")
	}
	o, err := member.Parse("/data", data)
	if err != nil {
		return archive.Opened{}, err
	}
	hide := maskOf(o.Value())
	d, err := open(o, s)
	if err == nil {
		o.Done()
		err = o.Err()
	}
	if err != nil {
		if d.Destination != nil {
			d.Close() // nothing was sent
		}
		return archive.Opened{}, hide.error(err)
	}
	d.Destination = &discreet{d.Destination, hide}
	return d, nil
}

// plain returns a payload as text: a string as it is, all else as JSON.
func plain(payload []byte) ([]byte, error) {
	if len(payload) == 0 || payload[0] != '"' {
		return payload, nil
	}
	var s string
	if err := json.Unmarshal(payload, &s); err != nil {
		return nil, fmt.Errorf("no JSON: %w", err)
	}
	return []byte(s), nil
}
