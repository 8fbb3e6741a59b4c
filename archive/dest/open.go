// Package dest has the destinations that results go to. They take what the
// archivers of pScheduler take, in all their schemas, and what those only
// promise: a result is delivered when the destination has said so.
package dest

import (
	"fmt"
	"strings"

	"owl/archive"
	"owl/archive/member"
)

// An opener reads the data of one archiver. What is wrong with them it notes in
// o.
type opener func(o *member.Object, s *archive.Spec) (archive.Opened, error)

// Open returns the destination of a specification, ready to be used. It reaches
// out to nobody.
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
	d, err := open(o, s)
	if err == nil {
		o.Done()
		err = o.Err()
	}
	if err != nil && d.Destination != nil {
		d.Close()
	}
	if err != nil {
		return archive.Opened{}, err
	}
	return d, nil
}

// Names are the archivers that there are.
var Names = []string{"bitbucket", "failer", "http", "tcp", "udp"}

// openerOf returns the opener of an archiver; nil: there is none.
func openerOf(archiver string) opener {
	switch archiver {
	case "bitbucket":
		return openBitbucket
	case "failer":
		return openFailer
	case "http":
		return openHTTP
	case "tcp":
		return openTCP
	case "udp":
		return openUDP
	}
	return nil
}

// schemaOf reads the schema of an archiver's data, of which most is the newest.
func schemaOf(o *member.Object, most int64) int64 { return o.Int("schema", 1, most, 1) }

// since reports whether there is a member that data of an older schema than first
// do not have.
func since(o *member.Object, schema, first int64, name string) bool {
	if !o.Has(name) {
		return false
	}
	if schema < first {
		o.Fail(name, `want "schema": %d, or none of it`, first)
	}
	return true
}
