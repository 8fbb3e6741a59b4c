package api

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"owl/archive/series"
)

// quoted returns a string as JSON.
func quoted(s string) []byte { return appendString(nil, s) }

// appendString appends a string as JSON, in which letters stay what they are.
func appendString(dst []byte, s string) []byte {
	plain := true
	for i := range len(s) {
		plain = plain && s[i] >= ' ' && s[i] < 0x7f && s[i] != '"' && s[i] != '\\'
	}
	if plain {
		return append(append(append(dst, '"'), s...), '"')
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // of a string never fails
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte{'\n'})...)
}

// An overview is what the first measurement of a search says of all of them.
type overview struct {
	total          int
	previous, next string
}

// appendMetadata appends a measurement, with its members in esmond's order.
func (q *request) appendMetadata(dst []byte, m *series.Metadata, about *overview) []byte {
	text := func(name, value string) {
		dst = append(appendString(append(dst, ','), name), ':')
		dst = appendString(dst, value)
	}
	address := func(name string, a netip.Addr) {
		if a.IsValid() {
			text(name, a.String())
		}
	}
	uri := q.uri(m.Key)
	dst = append(dst, `{"url":`...)
	dst = appendString(dst, q.origin()+uri)
	text("metadata-key", m.Key)
	text("subject-type", m.SubjectType)
	dst = append(dst, `,"event-types":[`...)
	for i := range m.Events {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = q.appendEvent(dst, m.Key, &m.Events[i])
	}
	dst = append(dst, ']')
	address("source", m.Source)
	address("destination", m.Destination)
	address("measurement-agent", m.MeasurementAgent)
	text("tool-name", m.ToolName)
	text("input-source", m.InputSource)
	if m.SubjectType == series.PointToPoint {
		text("input-destination", m.InputDestination)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Parameters)) {
		text(name, m.Parameters[name])
	}
	text("uri", uri)
	if about != nil {
		dst = append(dst, `,"metadata-count-total":`...)
		dst = strconv.AppendInt(dst, int64(about.total), 10)
		dst = append(dst, `,"metadata-previous-page":`...)
		dst = appendURL(dst, about.previous)
		dst = append(dst, `,"metadata-next-page":`...)
		dst = appendURL(dst, about.next)
	}
	return append(dst, '}')
}

// appendURL appends a URL, or null if there is none.
func appendURL(dst []byte, url string) []byte {
	if url == "" {
		return append(dst, "null"...)
	}
	return appendString(dst, url)
}

// appendEvent appends what there is of an event type.
func (q *request) appendEvent(dst []byte, key string, e *series.Event) []byte {
	uri := q.uri(key) + string(e.Type)
	dst = append(dst, `{"base-uri":`...)
	dst = appendString(dst, uri+"/base")
	dst = append(dst, `,"event-type":`...)
	dst = appendString(dst, string(e.Type))
	dst = append(dst, `,"time-updated":`...)
	dst = appendUpdated(dst, e.Updated)
	dst = append(dst, `,"summaries":[`...)
	for i, s := range e.Summaries {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendSummary(dst, uri, s, e.Updated)
	}
	return append(dst, "]}"...)
}

// appendSummary appends what there is of a summary of an event type. The window is
// a text: esmond_client compares it with one.
func appendSummary(dst []byte, uri string, s series.Summary, updated int64) []byte {
	dst = append(dst, `{"uri":`...)
	dst = appendString(dst, uri+"/"+s.String())
	dst = append(dst, `,"summary-type":`...)
	dst = appendString(dst, s.Type.String())
	dst = append(dst, `,"summary-window":"`...)
	dst = strconv.AppendInt(dst, s.Window, 10)
	dst = append(dst, `","time-updated":`...)
	return append(appendUpdated(dst, updated), '}')
}

// appendUpdated appends when something was last written; null: never.
func appendUpdated(dst []byte, at int64) []byte {
	if at == 0 {
		return append(dst, "null"...)
	}
	return strconv.AppendInt(dst, at, 10)
}
