package api

import (
	"compress/gzip"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

const (
	typeJSON = "application/json" // exactly: esmond_client compares the whole
	typeCSV  = "text/csv; charset=utf-8; header=present"
	// held is how much of an answer is held back. What ends within it has its length
	// in front, and what fails within it is an error and not half an answer.
	held = 32 << 10
	// worthGzip is from how many octets on an answer is compressed.
	worthGzip = 1 << 10
)

// An answer is one that is being written. It is not held in memory, but for its
// beginning.
type answer struct {
	w           http.ResponseWriter
	r           *http.Request
	compressors chan *gzip.Writer
	status      int
	buf         []byte
	zip         *gzip.Writer
	streaming   bool // some has been sent
}

func newAnswer(w http.ResponseWriter, r *http.Request, compressors chan *gzip.Writer) *answer {
	w.Header().Add("Vary", "Accept, Accept-Encoding")
	w.Header().Set("X-Content-Type-Options", "nosniff") // there are texts of anybody in it
	return &answer{w: w, r: r, compressors: compressors}
}

// begin says what comes. A type of "" means that nothing does.
func (a *answer) begin(status int, mediaType string) {
	a.status = status
	if mediaType != "" {
		a.w.Header().Set("Content-Type", mediaType)
	}
}

// reset forgets what has been written and not sent.
func (a *answer) reset() {
	a.buf = a.buf[:0]
	for _, name := range []string{"Link", "Location", "Content-Type"} {
		a.w.Header().Del(name)
	}
}

// room returns the buffer, for more to be appended to.
func (a *answer) room() []byte { return a.buf }

// put takes the buffer back, with what was appended.
func (a *answer) put(buf []byte) error {
	var err error
	a.buf, err = a.more(buf)
	return err
}

// errEnough ends an answer of which nobody wants the rest.
var errEnough = errors.New("enough of an answer to HEAD")

// more sends what is in the buffer, if it is enough, and returns it for more to be
// appended to.
func (a *answer) more(buf []byte) ([]byte, error) {
	if len(buf) < held {
		return buf, nil
	}
	if !a.streaming {
		a.streaming = true
		a.compress(len(buf))
		a.w.WriteHeader(a.status)
	}
	if a.r.Method == http.MethodHead {
		return buf[:0], errEnough
	}
	return buf[:0], a.send(buf)
}

// compress has what follows compressed, if that is worth its while, the client takes
// it, and not too many others do.
func (a *answer) compress(octets int) {
	if octets < worthGzip || !accepts(a.r.Header.Values("Accept-Encoding"), "gzip") {
		return
	}
	select {
	case a.zip = <-a.compressors:
	default:
		return
	}
	if a.zip == nil {
		a.zip, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed) // a level that there is
	}
	a.zip.Reset(a.w)
	a.w.Header().Set("Content-Encoding", "gzip")
}

// errGone says that the client takes no more of an answer.
var errGone = errors.New("the client is gone")

func (a *answer) send(buf []byte) error {
	var err error
	if a.zip != nil {
		_, err = a.zip.Write(buf)
	} else {
		_, err = a.w.Write(buf)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return nil
}

// end sends what is left. Whoever could be told of an error is gone.
func (a *answer) end() {
	if !a.streaming {
		a.compress(len(a.buf))
		if a.zip == nil {
			a.w.Header().Set("Content-Length", strconv.Itoa(len(a.buf)))
		}
		a.w.WriteHeader(a.status)
	}
	if a.r.Method == http.MethodHead {
		return
	}
	_ = a.send(a.buf)
	if a.zip != nil {
		_ = a.zip.Close()
	}
}

// release lets another answer be compressed.
func (a *answer) release() {
	if a.zip != nil {
		a.compressors <- a.zip
		a.zip = nil
	}
}

// accepts tells if a list of what a client takes, as of Accept-Encoding, has a
// word with a weight above 0.
func accepts(list []string, word string) bool {
	for _, line := range list {
		for item := range strings.SplitSeq(line, ",") {
			name, parameters, _ := strings.Cut(item, ";")
			if strings.EqualFold(strings.TrimSpace(name), word) {
				return weight(parameters) > 0
			}
		}
	}
	return false
}

// weight returns the q of an item; 1: there is none.
func weight(parameters string) float64 {
	for p := range strings.SplitSeq(parameters, ";") {
		if v, ok := strings.CutPrefix(strings.ToLower(strings.ReplaceAll(p, " ", "")), "q="); ok {
			q, err := strconv.ParseFloat(v, 64)
			if err != nil {
				return 0
			}
			return q
		}
	}
	return 1
}

// answerJSON answers with what fits into memory.
func (q *request) answerJSON(status int, body []byte) error {
	q.answer.begin(status, typeJSON)
	return q.answer.put(append(q.answer.room(), body...))
}

// done answers a write that has nothing to say.
func (q *request) done() error {
	if q.who.guide {
		q.answer.begin(http.StatusOK, "")
		return nil
	}
	return q.answerJSON(http.StatusCreated, []byte(`""`))
}

// origin returns scheme and host by which the archive was asked. Who lies about
// them gets the lie back, and nobody else does.
func (q *request) origin() string {
	scheme := "http"
	if q.TLS != nil || q.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	return (&url.URL{Scheme: scheme, Host: q.Host}).String()
}
