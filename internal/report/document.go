package report

import (
	"bytes"
	"encoding/json"
	"errors"

	"owl/owamp"
	"owl/owamp/owp"
	"owl/owamp/stats"
)

// Schema names the form of documents that docs/json.md describes. Keys may be
// added to it.
const Schema = "owl/session-report/1"

// A document is the state of the JSON document that a Reporter writes.
type document struct{ begun bool }

// A sessionDocument is an element of its sessions. Its packets are written apart,
// for there may be more than memory holds.
type sessionDocument struct {
	File      string `json:"file,omitempty"`
	Direction string `json:"direction,omitempty"`
	Version   uint32 `json:"file_version"`
	*stats.SessionDocument
	Damage  *damageDocument          `json:"damage,omitempty"`
	Summary *stats.SummaryDocument   `json:"summary"`
	Parts   []*stats.SummaryDocument `json:"parts,omitempty"`
}

type damageDocument struct {
	RecordsUsed    int64           `json:"records_used"`
	RecordsLeftOut int64           `json:"records_left_out"`
	OctetsLeftOut  int64           `json:"octets_left_out"`
	Places         []placeDocument `json:"places"`
	Unlisted       int             `json:"unlisted_places"`
}

type placeDocument struct {
	Offset int64  `json:"offset_octets"`
	What   string `json:"what"`
}

// writeDocument writes a session's part of the document. All of it is computed
// before the first octet, so that what is damaged leaves a document that is
// whole.
func (r *Reporter) writeDocument(s *session) error {
	whole, err := r.summarize(s, 0, stats.Options{})
	if err != nil {
		return err
	}
	d := &sessionDocument{
		File:            s.File,
		Direction:       s.Direction,
		Version:         s.Header().Version,
		SessionDocument: s.about().Document(s.Names, state(s.Header().Finished)),
		Damage:          s.damageDocument(),
		Summary:         whole.Document(r.Text),
	}
	ignored := func(*stats.RecordError) {}
	if r.Part > 0 {
		err = r.parts(s, func(begin int64, o stats.Options) (*stats.Summary, error) {
			if s.damage != nil {
				o.Refused = ignored // as in the whole
			}
			sum, err := r.summarize(s, begin, o)
			if err == nil {
				d.Parts = append(d.Parts, sum.Document(r.Text))
			}
			return sum, err
		})
		if err != nil {
			return err
		}
	}
	text, err := encode(d, "    ", "  ")
	if err != nil {
		return err
	}
	r.document.begin(r)
	if !r.Verbose {
		_, err = r.out.Write(text)
		return err
	}
	body, _ := bytes.CutSuffix(text, []byte("\n    }"))
	_, _ = r.out.Write(body)
	_, _ = r.out.WriteString(",\n      \"packets\": [")
	o := stats.Options{Refused: ignored}
	separator := "\n        "
	var failed error
	o.Each = func(rec *owamp.Record) {
		line, err := encode(stats.PacketDocumentOf(rec, r.Text), "", "")
		failed = errors.Join(failed, err)
		_, _ = r.out.WriteString(separator)
		_, _ = r.out.Write(line)
		separator = ",\n        "
	}
	_, err = r.summarize(s, 0, o)
	_, _ = r.out.WriteString("\n      ]\n    }")
	return errors.Join(err, failed)
}

func (s *session) damageDocument() *damageDocument {
	if s.damage == nil {
		return nil
	}
	d := &damageDocument{
		RecordsUsed:    s.used(),
		RecordsLeftOut: s.damage.Records,
		OctetsLeftOut:  s.damage.Octets,
		Places:         make([]placeDocument, len(s.damage.Places)),
		Unlisted:       s.damage.Unlisted,
	}
	for i, p := range s.damage.Places {
		d.Places[i] = placeDocument(*p)
	}
	return d
}

// begin writes what stands before a session.
func (d *document) begin(r *Reporter) {
	separator := ","
	if !d.begun {
		separator = `{
  "schema": "` + Schema + `",
  "program": "` + r.program + `",
  "sessions": [`
	}
	d.begun = true
	_, _ = r.out.WriteString(separator + "\n    ")
}

// end writes what stands behind all sessions.
func (d *document) end(r *Reporter) {
	if d.begun {
		_, _ = r.out.WriteString("\n  ]\n}\n")
	}
}

// encode returns v as JSON, without a line's end.
func encode(v any, prefix, indent string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent(prefix, indent)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// state returns how a session ended.
func state(f owp.Finished) string {
	if f == owp.Normal {
		return "finished"
	}
	return f.String()
}
