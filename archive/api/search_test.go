package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"owl/archive/series"
)

const registration = `{"subject-type": "point-to-point", "source": "192.0.2.1", "destination": "192.0.2.2", "measurement-agent": "192.0.2.1",
	"tool-name": "powstream", "input-source": "a", "input-destination": "b", "mode-flip": false, "event-types": [
	{"event-type": "packet-count-sent", "summaries": [{"summary-type": "aggregation", "summary-window": 300}]},
	{"event-type": "histogram-owdelay", "summaries": [{"summary-type": "aggregation", "summary-window": 300},
		{"summary-type": "statistics", "summary-window": 300}, {"summary-type": "statistics", "summary-window": 0}]},
	{"event-type": "packet-loss-rate"}, {"event-type": "time-error-estimates"}, {"event-type": "throughput-subintervals"}, {"event-type": "failures"}]}`

// between returns a registration of a measurement between two hosts.
func between(source, destination string, more ...string) string {
	return fmt.Sprintf(`{"subject-type": "point-to-point", "source": %q, "destination": %q, "measurement-agent": %[1]q,
		"tool-name": "powstream", "input-source": "a", "input-destination": "b", "event-types": [{"event-type": "failures"}]%[3]s}`,
		source, destination, strings.Join(more, ""))
}

// sources returns the sources of the measurements that a search finds.
func (a *archive) sources(t testing.TB, query string) []string {
	t.Helper()
	r := a.get(t, prefix+"?"+query)
	r.want(t, http.StatusOK, "")
	var all []string
	for _, m := range r.list(t) {
		all = append(all, m.(map[string]any)["source"].(string))
	}
	slices.Sort(all)
	return all
}

func TestMatchRule(t *testing.T) {
	t.Parallel()
	a := newArchive(t, 1000)
	a.hosts = hosts{
		"both.example.net": {"192.0.2.1", "2001:db8::1"},
		"four.example.net": {"192.0.2.2", "192.0.2.3"}, // esmond takes the first alone
		"six.example.net":  {"2001:db8::2"},
	}
	for _, source := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2", "::ffff:192.0.2.9"} {
		a.register(t, between(source, "192.0.2.99"))
	}
	for _, c := range []struct {
		host, rule string
		want       string // sources, or why none
	}{
		{"both.example.net", "", "192.0.2.1 2001:db8::1"},
		{"both.example.net", "v4v6", "192.0.2.1 2001:db8::1"},
		{"both.example.net", "only-v4", "192.0.2.1"},
		{"both.example.net", "only-v6", "2001:db8::1"},
		{"both.example.net", "prefer-v4", "192.0.2.1"},
		{"both.example.net", "prefer-v6", "2001:db8::1"},
		{"both.example.net", "v4-only", "192.0.2.1"},
		{"both.example.net", "v6-only", "2001:db8::1"},
		{"both.example.net", "V4V6", "Invalid dns-match-rule parameter V4V6"},
		{"four.example.net", "", "192.0.2.2 192.0.2.3"},
		{"four.example.net", "prefer-v6", "192.0.2.2 192.0.2.3"},
		{"four.example.net", "only-v6", "Unable to find address for host four.example.net"},
		{"six.example.net", "prefer-v4", "2001:db8::2"},
		{"nobody.example.net", "", "Unable to find address for host nobody.example.net"},
		{"192.0.2.1", "", "192.0.2.1"},
		{"192.0.2.1", "prefer-v6", "192.0.2.1"},
		{"192.0.2.1", "only-v6", "Unable to find address for host 192.0.2.1"},
		{"2001:DB8:0::1", "", "2001:db8::1"},
		{"::ffff:192.0.2.1", "", "192.0.2.1"},
		{"::ffff:192.0.2.9", "", "::ffff:192.0.2.9"}, // as it is registered
		{"::ffff:192.0.2.9", "only-v4", ""},
		{"192.0.2.77", "", ""},
		{"", "", "Unable to find address for host "},
		{"a b", "", "Unable to find address for host a b"},
		{strings.Repeat("a.", 127), "", "Unable to find address for host " + strings.Repeat("a.", 127)},
	} {
		t.Run(c.host+" "+c.rule, func(t *testing.T) {
			query := url.Values{"source": {c.host}}
			if c.rule != "" {
				query.Set("dns-match-rule", c.rule)
			}
			if r := a.get(t, prefix+"?"+query.Encode()); r.StatusCode != http.StatusOK {
				r.want(t, http.StatusBadRequest, c.want)
			} else if got := strings.Join(a.sources(t, query.Encode()), " "); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
	// A rule that there is not is no error where there is no host.
	if got := a.sources(t, "dns-match-rule=x"); len(got) != 6 {
		t.Errorf("found %q, want all", got)
	}
}

func testSearch(t *testing.T, address string) {
	a := openArchive(t, address, 1000)
	one := a.register(t, registration)
	a.register(t, between("192.0.2.10", "192.0.2.2", `, "ip-ttl": 64, "x": "ä%_'"`))
	a.register(t, `{"subject-type": "network-element", "source": "192.0.2.20", "measurement-agent": "192.0.2.21", "tool-name": "ntp",
		"input-source": "c", "event-types": [{"event-type": "ntp-offset"}]}`)
	a.now = 2000
	a.do(t, http.MethodPut, one, `{"data": [{"ts": 1500, "val": [{"event-type": "packet-count-sent", "val": 1}]}]}`, a.token()...).want(t, http.StatusCreated, "")
	key := strings.Trim(strings.TrimPrefix(one, prefix), "/")
	for query, want := range map[string]string{
		"":                             "192.0.2.1 192.0.2.10 192.0.2.20",
		"format=json":                  "192.0.2.1 192.0.2.10 192.0.2.20",
		"destination=192.0.2.2":        "192.0.2.1 192.0.2.10",
		"measurement-agent=192.0.2.21": "192.0.2.20",
		"tool-name=ntp":                "192.0.2.20",
		"tool-name=NTP":                "", // exactly
		"tool-name=":                   "",
		"input-source=c":               "192.0.2.20",
		"input-destination=b":          "192.0.2.1 192.0.2.10",
		"subject-type=network-element": "192.0.2.20",
		"subject-type=x":               "",
		"subject-type=":                "",
		"metadata-key=" + key:          "192.0.2.1",
		"metadata-key=x":               "",
		"mode-flip=False":              "192.0.2.1", // as Python writes it
		"mode-flip=false":              "",
		"ip-ttl=64":                    "192.0.2.10",
		"ip-ttl=64&x=%C3%A4%25_%27":    "192.0.2.10",
		"x=%C3%A4%25__":                "", // no pattern
		"ip-ttl=64&ip-ttl=65":          "", // the last one counts
		"unknown=1":                    "",
		"event-type=ntp-offset":        "192.0.2.20",
		"event-type=throughput":        "",
		"event-type=x":                 "",
		"summary-type=statistics":      "192.0.2.1",
		"summary-type=base":            "192.0.2.1 192.0.2.10 192.0.2.20",
		"summary-type=x":               "",
		"summary-window=300":           "192.0.2.1",
		"summary-window=0":             "192.0.2.1 192.0.2.10 192.0.2.20",
		"event-type=packet-count-sent&summary-type=aggregation&summary-window=300": "192.0.2.1",
		// One and the same row has to have all of them.
		"event-type=packet-count-sent&summary-type=statistics": "",
		"summary-type=aggregation&summary-window=0":            "",
		"summary-type=base&summary-window=300":                 "",
		"event-type=packet-count-sent&time=2000":               "192.0.2.1",
		"event-type=histogram-owdelay&time=2000":               "",
		"time=2000":                                            "192.0.2.1",
		"time=1999":                                            "",
		"time-start=2000":                                      "192.0.2.1",
		"time-start=2001":                                      "",
		"time-start=1000&time-end=1999":                        "",
		"time-start=1000&time-end=2000":                        "192.0.2.1",
		"time-start=1900&time-range=99":                        "",
		"time-start=1900&time-range=100":                       "192.0.2.1",
		"time-end=2100&time-range=100":                         "192.0.2.1",
		"time-end=2100&time-range=99":                          "",
		"time-end=2000":                                        "192.0.2.1", // what was never written has no time
		"time-end=1999":                                        "",
		"time-range=0":                                         "192.0.2.1",
		"time=2000&time-start=x":                               "192.0.2.1", // is not looked at
		"time-start=+2000 ":                                    "192.0.2.1",
		"time-start=1&time-end=9999&time-range=x":              "192.0.2.1",
	} {
		if got := strings.Join(a.sources(t, strings.ReplaceAll(query, " ", "%20")), " "); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	for query, want := range map[string]string{
		"time=x":                          "Time parameter must be an integer",
		"time=":                           "Time parameter must be an integer",
		"time=1.5":                        "Time parameter must be an integer",
		"time-start=99999999999999999999": "Time parameter must be an integer",
		"time-start=2&time-end=1":         "Requested start time must be less than end time",
		"time-start=2&time-range=-1":      "Requested start time must be less than end time",
		"time-end=-1":                     "Requested start time must be less than end time",
		"summary-window=x":                "Summary window parameter must be an integer",
		"x=%zz":                           "The query of the URL cannot be decoded",
		"x=%ff":                           "The query of the URL is not text in UTF-8",
		"x=%00":                           "The query of the URL is not text in UTF-8",
	} {
		a.get(t, prefix+"?"+query).want(t, http.StatusBadRequest, want)
	}
	var many []string
	for i := range mostParameters + 1 {
		many = append(many, fmt.Sprintf("p%d=1", i))
	}
	a.get(t, prefix+"?"+strings.Join(many, "&")).want(t, http.StatusBadRequest, "The query of the URL has more than 64 parameters")
}

// A search has pages, of which each says where the others are.
func testPages(t *testing.T, address string) {
	a := openArchive(t, address, 1000)
	for i := range 25 {
		a.register(t, between(fmt.Sprintf("192.0.2.%d", i), "192.0.2.99"))
	}
	whole := a.get(t, prefix).list(t)
	first := whole[0].(map[string]any)
	if first["metadata-count-total"] != 25.0 || first["metadata-next-page"] != nil || first["metadata-previous-page"] != nil {
		t.Errorf("the first has %v", first)
	}
	if _, ok := whole[1].(map[string]any)["metadata-count-total"]; ok {
		t.Error("the second has a total, too")
	}
	if _, ok := a.get(t, first["uri"].(string)).object(t)["metadata-count-total"]; ok {
		t.Error("one measurement has a total")
	}
	key := func(m any) string { return m.(map[string]any)["metadata-key"].(string) }
	if !slices.IsSortedFunc(whole, func(x, y any) int { return strings.Compare(key(x), key(y)) }) {
		t.Error("not in the order of keys")
	}

	// From the first page by the links to the last, and back.
	const from = "http://example.com" + prefix
	next, seen := from+"?limit=10&destination=192.0.2.99", 0
	var last *reply
	for next != "" {
		last = a.get(t, next)
		page := last.list(t)
		for i := range page {
			if key(page[i]) != key(whole[seen+i]) {
				t.Errorf("%s: %d is %s, want %s", next, i, key(page[i]), key(whole[seen+i]))
			}
		}
		seen += len(page)
		to := page[0].(map[string]any)["metadata-next-page"]
		next, _ = to.(string)
		if to != nil && last.Header.Get("Link") == "" {
			t.Error("no Link")
		}
	}
	if seen != 25 {
		t.Errorf("the pages have %d, want 25", seen)
	}
	want := "<" + from + `?destination=192.0.2.99&limit=10&offset=10>; rel="prev"`
	if got := last.Header.Get("Link"); got != want {
		t.Errorf("Link of the last page is %s, want %s", got, want)
	}
	middle := a.get(t, from+"?limit=5&offset=5")
	want = "<" + from + `?limit=5&offset=10>; rel="next", <` + from + `?limit=5>; rel="prev"`
	if got := middle.Header.Get("Link"); got != want {
		t.Errorf("Link is %s, want %s", got, want)
	}
	for query, n := range map[string]int{"limit=0": 25, "limit=-1": 25, "limit=x": 25, "limit=10&offset=x": 10, "offset=20": 5, "offset=99": 0, "offset=-3": 25, "limit=999999999999": 25} {
		if got := len(a.get(t, prefix+"?"+query).list(t)); got != n {
			t.Errorf("%s: %d, want %d", query, got, n)
		}
	}
}

// A long answer, which is had in pieces, has each measurement once.
func TestLongSearch(t *testing.T) {
	t.Parallel()
	const n = atOnce + 20
	a := newArchive(t, 1000)
	var done sync.WaitGroup
	for i := range n {
		m, err := series.ParseMetadata([]byte(between(fmt.Sprintf("10.0.%d.%d", i/256, i%256), "192.0.2.99")))
		if err != nil {
			t.Fatal(err)
		}
		done.Go(func() { // beside each other, for they wait for the disk together
			if _, err := a.store.Register(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	for query, want := range map[string]int{"": n, fmt.Sprintf("limit=%d", atOnce): atOnce, fmt.Sprintf("limit=%d", atOnce+1): atOnce + 1, "offset=7": n - 7} {
		r := a.get(t, prefix+"?"+query)
		seen := make(map[string]bool)
		for _, m := range r.list(t) {
			seen[m.(map[string]any)["metadata-key"].(string)] = true
		}
		if all := r.list(t); len(seen) != want || len(all) != want || all[0].(map[string]any)["metadata-count-total"] != float64(n) {
			t.Errorf("%s: %d of %d, want %d", query, len(seen), len(all), want)
		}
	}
}

// What is registered without event types is there, too.
func TestNoEvents(t *testing.T) {
	t.Parallel()
	a := newArchive(t, 1000)
	uri := a.register(t, strings.Replace(between("192.0.2.1", "192.0.2.2"), `[{"event-type": "failures"}]`, "null", 1))
	a.get(t, uri).want(t, http.StatusOK, "")
	a.do(t, http.MethodPut, uri, `{"data": []}`, a.token()...).want(t, http.StatusCreated, "")
	a.do(t, http.MethodPut, uri, points("failures", 1), a.token()...).
		want(t, http.StatusBadRequest, "Event type failures is not registered for metadata-key "+strings.Trim(strings.TrimPrefix(uri, prefix), "/"))
}

// Answers have the prefix and the host by which they were asked for.
func TestOrigin(t *testing.T) {
	t.Parallel()
	a := newArchive(t, 1000)
	uri := a.register(t, between("192.0.2.1", "192.0.2.2"))
	key := strings.Trim(strings.TrimPrefix(uri, prefix), "/")
	for _, c := range []struct{ url, want string }{
		{"http://ma.example.net/esmond/perfsonar/", "http://ma.example.net/esmond/perfsonar/archive/"},
		{"https://ma.example.net:8443/perfsonar/", "https://ma.example.net:8443/perfsonar/archive/"},
	} {
		if got := a.get(t, c.url).object(t)["archive"]; got != c.want {
			t.Errorf("%s: %v, want %s", c.url, got, c.want)
		}
		m := a.get(t, c.want).list(t)[0].(map[string]any)
		path := c.want[strings.Index(c.want[8:], "/")+8:]
		if m["url"] != c.want+key+"/" || m["uri"] != path+key+"/" || m["event-types"].([]any)[0].(map[string]any)["base-uri"] != path+key+"/failures/base" {
			t.Errorf("%s: %v", c.url, m)
		}
	}
	if got := a.get(t, "http://ma.example.net/perfsonar/", "X-Forwarded-Proto", "https").object(t)["archive"]; got != "https://ma.example.net/perfsonar/archive/" {
		t.Errorf("behind a proxy it is %v", got)
	}
}
