package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// A pair is a request and what esmond 4.3.2 has answered.
type pair struct {
	Label   string
	Request struct {
		Method, Path string
		Headers      map[string]string
		Body         json.RawMessage
	}
	Response struct {
		Status  int
		Headers map[string]string
		Body    any
	}
}

// esmond's key, clock and host in the transcript.
const (
	transcriptSecret = "35dfc21ebf95a6deadbeef83f1e052fbadcafe57"
	transcriptNow    = 1795238342
	transcriptHost   = "127.0.0.1:18090"
)

// A difference is an answer that is not esmond's.
type difference struct {
	status int
	body   string // JSON; or of an error the text
	row    string // of the table in docs/compatibility.md that says why
}

// Rows of docs/compatibility.md.
const (
	rowUnknownKey   = "a write to a metadata key that is not there"
	rowUnregistered = "a write of an event type that the measurement does not have"
	rowFails        = "an event type that there is not, a time that is no number, `null` for a number, a histogram without labels"
	rowAtomic       = "a bulk write of which a value is there already"
	rowOneWindow    = "several histograms of one window in one request"
	rowStatistics   = "statistics of a window without an aggregation of the same window"
	rowBulkPost     = "`POST` of points in bulk"
	rowPatch        = "`PATCH`"
	rowAPIKey       = "`Authorization: ApiKey`"
)

// differences are the answers to requests of the transcript, by label, that are
// Owl's own.
var differences = map[string]difference{
	"GET histogram-ttl/statistics/3600": {200, `[{"ts": 1777636800, "val": {"mode": [59], "mean": 58.996647108130766, "minimum": 58, "maximum": 59,
		"percentile-25": 59, "median": 59, "percentile-75": 59, "percentile-95": 59, "variance": 0.00334164998535042, "standard-deviation": 0.05780700636904163}}]`, rowStatistics},
	"histogram aggregation after the 409 (double-counted)": {200, `[
		{"ts": 1777636800, "val": {"34.30": 740, "34.40": 423, "34.50": 30, "34.60": 7, "-0.05": 1, "0.00": 2, "5": 3, "10": 4}},
		{"ts": 1777637100, "val": {"34.3": 10, "34.30": 1}}]`, rowAtomic},
	"  -> histogram aggregation 300": {200, `[{"ts": 1777636800, "val": {"1.00": 5, "2.00": 7}}]`, rowOneWindow},
	"PUT data unknown key":           {404, "Not found.", rowUnknownKey},
	"POST bulk (not PUT)":            {201, `""`, rowBulkPost},
	"PATCH":                          {405, `Method "PATCH" not allowed.`, rowPatch},
	"PUT event type not in this metadata": {400, "Event type packet-trace is not registered for metadata-key b64d599d267240fa8336371021c15dc8",
		rowUnregistered},
	"PUT unknown event type":   {400, "Invalid event type no-such", rowFails},
	"PUT ts string non-number": {400, "Time must be a unix timestamp", rowFails},
	"PUT ts ISO8601":           {400, "Time must be a unix timestamp", rowFails},
	"integer value None":       {400, "Value must be an integer", rowFails},
	"float value None":         {400, "Value must be a floating point number", rowFails},
	"histogram value []":       {400, "Invalid histogram provided", rowFails},
	"histogram value {}":       {400, "Invalid histogram provided", rowFails},
	"ApiKey scheme (seed)": {200, `{"url": "http://127.0.0.1:18090/esmond/perfsonar/archive/KEY/", "metadata-key": "KEY",
		"subject-type": "point-to-point", "event-types": [], "source": "10.1.1.1", "destination": "10.1.1.2", "measurement-agent": "10.1.1.1",
		"tool-name": "pscheduler/powstream", "input-source": "host1", "input-destination": "host2", "uri": "/esmond/perfsonar/archive/KEY/"}`, rowAPIKey},
}

// Each request of the transcript, in order, is answered as esmond has answered it.
func testTranscript(t *testing.T, address string) {
	data, err := os.ReadFile("testdata/transcript.json")
	if err != nil {
		t.Fatal(err)
	}
	var pairs []pair
	if err := json.Unmarshal(data, &pairs); err != nil {
		t.Fatal(err)
	}
	a := openArchive(t, address, transcriptNow)
	keys := make(map[string]string) // esmond's to ours
	ours := func(s string) string {
		for esmonds, own := range keys {
			s = strings.ReplaceAll(s, esmonds, own)
		}
		return strings.ReplaceAll(s, transcriptSecret, a.secret)
	}
	used := make(map[string]bool)
	for _, p := range pairs {
		body := string(p.Request.Body)
		if body == "null" {
			body = ""
		}
		var text string
		if json.Unmarshal(p.Request.Body, &text) == nil { // is no JSON, but text
			body = text
		}
		r := httptest.NewRequest(p.Request.Method, ours(p.Request.Path), strings.NewReader(body))
		r.Host = transcriptHost
		for name, value := range p.Request.Headers {
			r.Header.Set(name, ours(value))
		}
		w := httptest.NewRecorder()
		a.handler.ServeHTTP(w, r)
		described().check(t, r, body, &reply{Response: w.Result(), body: w.Body.Bytes()})

		// Keys are random.
		var own struct {
			Key string `json:"metadata-key"`
		}
		if json.Unmarshal(w.Body.Bytes(), &own) == nil && own.Key != "" {
			esmonds, ok := p.Response.Body.(map[string]any)["metadata-key"].(string)
			if !ok {
				esmonds = "KEY"
			}
			keys[esmonds] = own.Key
		}
		status, want := p.Response.Status, p.Response.Body
		if d, ok := differences[p.Label]; ok {
			used[p.Label] = true
			status = d.status
			if json.Unmarshal([]byte(d.body), &want) != nil {
				want = map[string]any{"detail": d.body}
			}
		}
		if w.Code != status {
			t.Errorf("%s: status %d, want %d: %s", p.Label, w.Code, status, w.Body)
			continue
		}
		compareHeaders(t, &p, w.Header(), ours)
		compareBody(t, p.Label, w.Body.Bytes(), want, ours)
	}
	page, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	for label, d := range differences {
		if !used[label] {
			t.Errorf("there is no difference in %q", label)
		}
		if !strings.Contains(string(page), "\n| "+d.row+" |") {
			t.Errorf("docs/compatibility.md has no row %q", d.row)
		}
	}
}

// compareHeaders holds what clients read against the headers of esmond's answer.
// docs/compatibility.md has what is otherwise in all of them: Allow and Vary.
func compareHeaders(t *testing.T, p *pair, got http.Header, ours func(string) string) {
	t.Helper()
	for _, name := range []string{"Content-Type", "Location", "WWW-Authenticate"} {
		want := ours(p.Response.Headers[name])
		if name == "Content-Type" && strings.HasPrefix(want, "text/html") {
			want = typeJSON // of its errors; a redirect has none
			if got.Get("Location") != "" {
				want = ""
			}
		}
		if _, differs := differences[p.Label]; !differs && got.Get(name) != want {
			t.Errorf("%s: %s is %q, want %q", p.Label, name, got.Get(name), want)
		}
	}
}

func compareBody(t *testing.T, label string, got []byte, want any, ours func(string) string) {
	t.Helper()
	if want == nil {
		if len(got) > 0 {
			t.Errorf("%s: %s, want nothing", label, got)
		}
		return
	}
	var v any
	if err := json.Unmarshal(got, &v); err != nil {
		t.Errorf("%s: %s: %v", label, got, err)
		return
	}
	if o, ok := v.(map[string]any); ok && o["detail"] != nil {
		if o["error"] != o["detail"] {
			t.Errorf("%s: error is %v, want what detail is: %v", label, o["error"], o["detail"])
		}
		delete(o, "error")
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(ours(string(text))), &want); err != nil {
		t.Fatal(err)
	}
	// Sums of floating point numbers depend on their order.
	if diff := cmp.Diff(want, v, cmpopts.EquateApprox(1e-12, 1e-12)); diff != "" {
		t.Errorf("%s: (-esmond +owl)\n%s", label, diff)
	}
}
