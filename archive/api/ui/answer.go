package ui

import (
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A table is an answer: JSON as it is, and CSV by its rows.
type table interface {
	// header returns the names of the columns, rows calls add for each row, whose
	// cells it does not keep.
	header() []string
	rows(add func(cells ...any))
}

// serve answers a request as JSON, or as CSV.
func (h *handler) serve(w http.ResponseWriter, r *http.Request, answer func(*http.Request) (table, error), write func(http.ResponseWriter, *http.Request, table)) {
	t, err := answer(r)
	if bad, ok := errors.AsType[*requestError](err); ok {
		fail(w, http.StatusBadRequest, bad.detail)
		return
	}
	if err != nil {
		if r.Context().Err() == nil { // or else it is the peer that has gone
			h.Log.Error("the page's data cannot be read from the archive", "path", r.URL.Path, "query", r.URL.RawQuery, "error", err)
		}
		fail(w, http.StatusServiceUnavailable, "the archive cannot be read")
		return
	}
	write(w, r, t)
}

// fail answers with an error.
func fail(w http.ResponseWriter, code int, detail string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"detail": detail})
}

// compressible is the length from which on it is worth the while to compress.
const compressible = 4 << 10

func writeJSON(w http.ResponseWriter, r *http.Request, t table) {
	b, err := json.Marshal(t)
	if err != nil {
		fail(w, http.StatusInternalServerError, "the answer cannot be written as JSON")
		return
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Vary", "Accept-Encoding")
	var out io.Writer = w
	if len(b) >= compressible && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		header.Set("Content-Encoding", "gzip")
		z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed) // a level that there is
		defer z.Close()
		out = z
	}
	_, _ = out.Write(append(b, '\n')) // the peer has gone, if not
}

func writeCSV(name string) func(http.ResponseWriter, *http.Request, table) {
	return func(w http.ResponseWriter, _ *http.Request, t table) {
		w.Header().Set("Content-Type", "text/csv; charset=utf-8; header=present")
		w.Header().Set("Content-Disposition", `attachment; filename="owl-`+name+`.csv"`)
		c := csv.NewWriter(w)
		_ = c.Write(t.header()) // the writer keeps an error
		row := make([]string, 0, len(t.header()))
		t.rows(func(cells ...any) {
			row = row[:0]
			for _, cell := range cells {
				row = append(row, cellText(cell))
			}
			_ = c.Write(row)
		})
		c.Flush()
	}
}

// A moment is a time in Unix seconds, which CSV has as RFC 3339 has it.
type moment int64

// cellText returns a cell of CSV. A text that a spreadsheet would take for a
// formula gets an apostrophe in front, which spreadsheets do not show.
func cellText(cell any) string {
	switch v := cell.(type) {
	case string:
		if v != "" && strings.ContainsRune("=+-@\t\r", rune(v[0])) {
			return "'" + v
		}
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	case int:
		return strconv.Itoa(v)
	case moment:
		return time.Unix(int64(v), 0).UTC().Format(time.RFC3339)
	case figure:
		if v.unknown() {
			return ""
		}
		return string(v.append(nil))
	}
	return ""
}

// A figure is a number that may not be known, which is NaN.
type figure float64

var unknown = figure(math.NaN())

func (f figure) unknown() bool { return math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) }

// append appends the figure as it is written, to a millionth.
func (f figure) append(dst []byte) []byte {
	return strconv.AppendFloat(dst, math.Round(float64(f)*1e6)/1e6, 'f', -1, 64)
}

// MarshalJSON implements [json.Marshaler]: null of what is not known.
func (f figure) MarshalJSON() ([]byte, error) {
	if f.unknown() {
		return []byte("null"), nil
	}
	return f.append(nil), nil
}

// A column is a list of figures.
type column []figure

// MarshalJSON implements [json.Marshaler]; it is much faster than figure by
// figure.
func (c column) MarshalJSON() ([]byte, error) {
	b := make([]byte, 1, 2+8*len(c))
	b[0] = '['
	for i, f := range c {
		if i > 0 {
			b = append(b, ',')
		}
		if f.unknown() {
			b = append(b, "null"...)
		} else {
			b = f.append(b)
		}
	}
	return append(b, ']'), nil
}
