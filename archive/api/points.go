package api

import (
	"strconv"
	"strings"

	"owl/archive/series"
	"owl/archive/store"
)

// A form is what points are written in, one after the other.
type form struct {
	mediaType  string
	begin, end string
	add        func(dst []byte, r *store.Reading) []byte
}

// pointsAs returns the form of the points of a series.
func pointsAs(f format, kind series.Kind, t series.SummaryType) form {
	switch {
	case f == inJSON:
		return jsonPoints()
	case t == series.Statistics:
		return csvForm("ts,mode,mean,minimum,maximum,percentile-25,median,percentile-75,percentile-95,variance,standard-deviation", csvStatistics)
	case kind == series.Histogram:
		return csvForm("ts,bin,count", csvHistogram)
	}
	return csvForm("ts,val", csvValue)
}

// jsonPoints is esmond's form.
func jsonPoints() form {
	first := true
	return form{mediaType: typeJSON, begin: "[", end: "]", add: func(dst []byte, r *store.Reading) []byte {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, `{"ts":`...)
		dst = strconv.AppendInt(dst, r.Time, 10)
		dst = append(dst, `,"val":`...)
		return append(r.AppendJSON(dst), '}')
	}}
}

// csvForm is Owl's own (RFC 4180): a line for each point, but for a histogram one
// for each of its bins, with the time in front.
func csvForm(header string, add func(dst []byte, r *store.Reading) []byte) form {
	return form{mediaType: typeCSV, begin: header + "\r\n", add: add}
}

func csvLine(dst []byte, at int64, fields ...string) []byte {
	dst = strconv.AppendInt(dst, at, 10)
	for _, f := range fields {
		dst = append(dst, ',')
		if strings.ContainsAny(f, "\",\r\n") {
			f = `"` + strings.ReplaceAll(f, `"`, `""`) + `"`
		}
		dst = append(dst, f...)
	}
	return append(dst, "\r\n"...)
}

// csvValue has in a field what JSON has. A spreadsheet, which might take it for a
// formula, finds a number, a quotation mark or a bracket at its beginning.
func csvValue(dst []byte, r *store.Reading) []byte {
	return csvLine(dst, r.Time, string(r.AppendJSON(nil)))
}

// csvHistogram has a bin's label as it is if it is a number, and else as JSON, for
// the same reason.
func csvHistogram(dst []byte, r *store.Reading) []byte {
	v := r.Value
	if r.Fold != nil {
		v, _ = r.Fold.Histogram()
	}
	for label, n := range v.Bins() {
		if _, err := strconv.ParseFloat(label, 64); err != nil {
			label = string(quoted(label))
		}
		dst = csvLine(dst, r.Time, label, strconv.FormatInt(n, 10))
	}
	return dst
}

// csvStatistics has several modes in one field, with blanks between them. Of a
// histogram without statistics the fields are empty.
func csvStatistics(dst []byte, r *store.Reading) []byte {
	var s series.Stats
	var ok bool
	if r.Fold != nil {
		s, ok = r.Fold.Statistics()
	} else {
		s, ok = r.Value.Statistics()
	}
	fields := make([]string, 10)
	if ok {
		fields = fields[:1]
		var modes []string
		for _, m := range s.Mode {
			modes = append(modes, strconv.FormatFloat(m, 'g', -1, 64))
		}
		fields[0] = strings.Join(modes, " ")
		for _, f := range []float64{s.Mean, s.Minimum, s.Maximum, s.P25, s.Median, s.P75, s.P95, s.Variance, s.Deviation} {
			fields = append(fields, strconv.FormatFloat(f, 'g', -1, 64))
		}
	}
	return csvLine(dst, r.Time, fields...)
}
