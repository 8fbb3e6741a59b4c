package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// A description is the OpenAPI document, taken apart as far as it is used.
type description struct {
	OpenAPI    string
	Servers    []struct{ URL string }
	Paths      map[string]map[string]json.RawMessage
	Components map[string]map[string]any
}

type operation struct {
	OperationID string
	Parameters  []any
	RequestBody any
	Responses   map[string]any
}

var described = sync.OnceValue(func() *description {
	d := new(description)
	if err := json.Unmarshal(openAPI, d); err != nil {
		panic(err)
	}
	return d
})

// resolve follows a reference, if v is one.
func (d *description) resolve(v any) map[string]any {
	o, _ := v.(map[string]any)
	ref, ok := o["$ref"].(string)
	if !ok {
		return o
	}
	kind, name, _ := strings.Cut(strings.TrimPrefix(ref, "#/components/"), "/")
	target, ok := d.Components[kind][name].(map[string]any)
	if !ok {
		panic("the description has no " + ref)
	}
	return d.resolve(target)
}

// find returns the operation of a request and its path; nil: it is none that is
// described.
func (d *description) find(r *http.Request) (path string, op *operation) {
	var rest string
	for _, s := range d.Servers {
		if below, ok := strings.CutPrefix(r.URL.Path, s.URL+"/"); ok {
			rest = "/" + below
		}
	}
	if rest == "" {
		return "", nil
	}
	names := strings.Split(strings.Trim(rest, "/"), "/")
	for path, methods := range d.Paths {
		parts := strings.Split(strings.Trim(path, "/"), "/")
		if len(parts) != len(names) || parts[0] != names[0] {
			continue
		}
		method := strings.ToLower(r.Method)
		if method == "head" {
			method = "get"
		}
		raw, ok := methods[method]
		if !ok {
			return path, nil
		}
		op := new(operation)
		if err := json.Unmarshal(raw, op); err != nil {
			panic(err)
		}
		return path, op
	}
	return "", nil
}

// content returns the media type and the schema of a response or a request that is
// described; none if there is no body.
func (d *description) content(v any, mediaType string) (schema any, ok bool) {
	content, _ := d.resolve(v)["content"].(map[string]any)
	if len(content) == 0 {
		return nil, mediaType == ""
	}
	mediaType, _, _ = strings.Cut(mediaType, ";")
	c, ok := content[mediaType].(map[string]any)
	return c["schema"], ok
}

// check fails if an answer is not as it is described. It returns what it is, for
// counting.
func (d *description) check(t testing.TB, r *http.Request, sent string, got *reply) string {
	t.Helper()
	path, op := d.find(r)
	switch {
	case got.StatusCode == http.StatusMovedPermanently, got.StatusCode == http.StatusMethodNotAllowed:
		return ""
	case op == nil:
		if path != "" && got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s %s: %d is not described", r.Method, r.URL.Path, got.StatusCode)
		}
		return ""
	}
	response, ok := op.Responses[fmt.Sprint(got.StatusCode)]
	if !ok {
		t.Errorf("%s %s: %s has no %d", r.Method, r.URL.Path, op.OperationID, got.StatusCode)
		return ""
	}
	media := got.Header.Get("Content-Type")
	schema, ok := d.content(response, media)
	if !ok {
		t.Errorf("%s %s: %d of %s has no %q", r.Method, r.URL.Path, got.StatusCode, op.OperationID, media)
		return ""
	}
	headers, _ := d.resolve(response)["headers"].(map[string]any)
	for name, h := range headers {
		if value := got.Header.Get(name); value != "" {
			if why := d.violates(d.resolve(h)["schema"], asJSON(value)); why != "" {
				t.Errorf("%s %s: %s: %s", r.Method, r.URL.Path, name, why)
			}
		}
	}
	if media == typeJSON && len(got.body) > 0 && got.Header.Get("Content-Encoding") == "" {
		if why := d.violates(schema, got.decode(t)); why != "" {
			t.Errorf("%s %s: %d: %s", r.Method, r.URL.Path, got.StatusCode, why)
		}
	}
	if op.RequestBody != nil && got.StatusCode/100 == 2 {
		var v any
		if err := json.Unmarshal([]byte(sent), &v); err != nil {
			t.Errorf("%s %s: %q was taken: %v", r.Method, r.URL.Path, sent, err)
		}
		schema, _ := d.content(op.RequestBody, typeJSON)
		if why := d.violates(schema, v); why != "" {
			t.Errorf("%s %s: what was taken: %s", r.Method, r.URL.Path, why)
		}
	}
	media, _, _ = strings.Cut(media, ";")
	return fmt.Sprintf("%s %d %s", op.OperationID, got.StatusCode, media)
}

// asJSON returns a header's value as what it would be in JSON.
func asJSON(s string) any {
	var v any
	if json.Unmarshal([]byte(s), &v) == nil {
		return v
	}
	return s
}

// violates tells what of a value is not as a schema wants it; "": nothing. It
// knows what the description uses of JSON Schema, and panics at anything else.
func (d *description) violates(schema, v any) string {
	s := d.resolve(schema)
	for _, keyword := range slices.Sorted(maps.Keys(s)) {
		if why := d.keyword(keyword, s, v); why != "" {
			return why
		}
	}
	return ""
}

func (d *description) keyword(keyword string, s map[string]any, v any) string {
	text, isText := v.(string)
	number, isNumber := v.(float64)
	list, isList := v.([]any)
	object, isObject := v.(map[string]any)
	arg := s[keyword]
	fails := func(bad bool) string {
		if bad {
			return fmt.Sprintf("%.200v is not of %s %v", v, keyword, arg)
		}
		return ""
	}
	switch keyword {
	case "description", "format", "default", "identifier":
	case "type":
		types, ok := arg.([]any)
		if !ok {
			types = []any{arg}
		}
		is := map[any]bool{
			"string": isText, "number": isNumber, "integer": isNumber && number == math.Trunc(number), "array": isList,
			"object": isObject, "null": v == nil, "boolean": v == true || v == false,
		}
		return fails(!slices.ContainsFunc(types, func(t any) bool { return is[t] }))
	case "enum":
		return fails(!slices.Contains(arg.([]any), v))
	case "const":
		return fails(v != arg)
	case "pattern":
		return fails(isText && !regexp.MustCompile(arg.(string)).MatchString(text))
	case "maxLength":
		return fails(isText && float64(utf8.RuneCountInString(text)) > arg.(float64))
	case "minimum":
		return fails(isNumber && number < arg.(float64))
	case "minItems":
		return fails(isList && float64(len(list)) < arg.(float64))
	case "maxItems":
		return fails(isList && float64(len(list)) > arg.(float64))
	case "items":
		for _, e := range list {
			if why := d.violates(arg, e); why != "" {
				return why
			}
		}
	case "required":
		for _, name := range arg.([]any) {
			if _, ok := object[name.(string)]; isObject && !ok {
				return fmt.Sprintf("no member %s", name)
			}
		}
	case "properties":
		for name, p := range arg.(map[string]any) {
			if member, ok := object[name]; ok {
				if why := d.violates(p, member); why != "" {
					return name + ": " + why
				}
			}
		}
	case "additionalProperties":
		known, _ := s["properties"].(map[string]any)
		for name, member := range object {
			if _, ok := known[name]; ok {
				continue
			}
			if arg == false {
				return "member " + name
			}
			if why := d.violates(arg, member); why != "" {
				return name + ": " + why
			}
		}
	case "oneOf", "anyOf":
		n := 0
		for _, alternative := range arg.([]any) {
			if d.violates(alternative, v) == "" {
				n++
			}
		}
		return fails(n == 0 || keyword == "oneOf" && n > 1)
	default:
		panic("the schema has " + keyword)
	}
	return ""
}

// The description is served, and has no answer that there is not: each status and
// media type of each of its operations is one of these answers. That these, and
// those of all other tests, are as it says is checked wherever a test asks.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	a := newArchive(t, 5000, func(o *Options) { o.MaxBody = 10_000 })
	d := described()
	if r := a.get(t, "/openapi.json"); r.StatusCode != http.StatusOK || string(r.body) != string(openAPI) {
		t.Errorf("status %d with %d octets", r.StatusCode, len(r.body))
	}
	if !strings.HasPrefix(d.OpenAPI, "3.1") {
		t.Errorf("OpenAPI %s, want 3.1", d.OpenAPI)
	}
	uri := a.register(t, registration)
	key := strings.Trim(strings.TrimPrefix(uri, prefix), "/")
	a.do(t, "PUT", uri, `{"data": [{"ts": 300, "val": [{"event-type": "histogram-owdelay", "val": {"1": 1}}]}]}`, a.token()...)
	long := `{"data": "` + strings.Repeat("x", 10_000) + `"}`
	elsewhere := strings.Replace(uri, key, strings.Repeat("0", 32), 1)
	seen := make(map[string]bool)
	ask := func(method, url, body string, headers ...string) {
		t.Helper()
		seen[a.do(t, method, url, body, headers...).described] = true
	}
	number := 0
	urls := []string{"/esmond/perfsonar/", prefix, uri, uri + "histogram-owdelay", uri + "histogram-owdelay/base", uri + "histogram-owdelay/statistics/300"}
	for _, url := range urls {
		for _, method := range []string{"OPTIONS", "GET"} {
			ask(method, url, "")
			ask(method, url, "", "Authorization", "Token x")
			ask(method, url, "", "Accept", "text/html")
			ask(method, url+"?format=xml", "")
			ask(method, url+"?x=%zz", "")
		}
		ask("GET", url+"?time=x", "")
		ask("GET", url+"?limit=x", "")
		ask("GET", url+"?format=csv", "")
	}
	ask("GET", elsewhere, "")
	ask("GET", uri+"histogram-owdelay/statistics", "")
	for _, c := range []struct {
		method, url, other string // other: an unknown measurement
		good               func() string
	}{
		{"POST", prefix, "", func() string { return registration }},
		{"PUT", uri, elsewhere, func() string { number++; return points("packet-count-sent", number) }},
		{"POST", uri, elsewhere, func() string { number++; return points("packet-count-sent", number) }},
		{"POST", uri + "packet-count-sent", "", func() string { return "{}" }},
		{"POST", uri + "packet-count-sent/base", elsewhere + "packet-count-sent/base", func() string { number++; return fmt.Sprintf(`{"ts": %d, "val": 1}`, number) }},
		{"POST", uri + "packet-count-sent/base/0", elsewhere + "packet-count-sent/base/0", func() string { number++; return fmt.Sprintf(`{"ts": %d, "val": 1}`, number) }},
	} {
		body := c.good()
		ask(c.method, c.url, body, a.token()...)
		ask(c.method, c.url, body, a.token()...) // a conflict
		ask(c.method, c.url, c.good(), a.guide()...)
		ask(c.method, c.url, body)
		ask(c.method, c.url, "x", a.token()...)
		ask(c.method, c.url, "x", append(a.token(), "Accept", "text/html")...)
		ask(c.method, c.url+"?format=xml", "x", a.token()...)
		ask(c.method, c.url, long, a.token()...)
		slow := httptest.NewRequest(c.method, c.url, iotest.ErrReader(os.ErrDeadlineExceeded))
		seen[a.send(t, slow, "", a.token()...).described] = true
		ask(c.method, c.url, body, "Authorization", "Token "+a.secret, "Content-Type", "text/plain")
		if c.other != "" {
			ask(c.method, c.other, body, a.token()...)
		}
	}
	// From here on the store does not answer; that the key is good it knows still.
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	number++
	unknown := []string{"Authorization", "Token " + strings.Repeat("0", 40), "Content-Type", typeJSON}
	for _, url := range urls {
		ask("OPTIONS", url, "", unknown...)
		ask("GET", url, "", unknown...)
	}
	ask("POST", prefix, between("192.0.2.77", "192.0.2.78"), a.token()...)
	ask("PUT", uri, points("packet-count-sent", number), a.token()...)
	ask("POST", uri, points("packet-count-sent", number), a.token()...)
	ask("POST", uri+"packet-count-sent", "{}", unknown...)
	ask("POST", uri+"packet-count-sent/base", `{"ts": 9, "val": 1}`, a.token()...)
	ask("POST", uri+"packet-count-sent/base/0", `{"ts": 9, "val": 1}`, a.token()...)

	for path, methods := range d.Paths {
		for method, raw := range methods {
			if method == "parameters" {
				continue
			}
			op := new(operation)
			if err := json.Unmarshal(raw, op); err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(methodsOf[resourceOf(t, path)], strings.ToUpper(method)) {
				t.Errorf("%s %s: there is no such method", method, path)
			}
			for status, response := range op.Responses {
				content, _ := d.resolve(response)["content"].(map[string]any)
				if len(content) == 0 {
					content = map[string]any{"": nil}
				}
				for media := range content {
					if answer := op.OperationID + " " + status + " " + media; !seen[answer] {
						t.Errorf("no answer is %s", answer)
					}
				}
			}
		}
	}
}

// resourceOf returns what a path of the description names.
func resourceOf(t *testing.T, path string) resource {
	h := New(nil, Options{}).(*handler)
	r, err := http.NewRequest(http.MethodGet, "/perfsonar"+strings.NewReplacer("{", "", "}", "").Replace(path), nil)
	if err != nil {
		t.Fatal(err)
	}
	found, err := h.find(r.URL)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return found.resource
}

// Each parameter that a search or a series takes is described, and is no other.
func TestDescribedParameters(t *testing.T) {
	t.Parallel()
	d := described()
	want := map[string][]string{
		"search":  append([]string{"source", "destination", "measurement-agent", "tool-name", "input-source", "input-destination", "subject-type", "metadata-key", "event-type", "summary-type", "summary-window"}, reserved...),
		"base":    {"format", "limit", "offset", "time", "time-start", "time-end", "time-range"},
		"summary": {"format", "limit", "offset", "time", "time-start", "time-end", "time-range"},
	}
	for _, methods := range d.Paths {
		op := new(operation)
		if err := json.Unmarshal(methods["get"], op); err != nil {
			t.Fatal(err)
		}
		names := []string{}
		for _, p := range op.Parameters {
			names = append(names, d.resolve(p)["name"].(string))
		}
		slices.Sort(names)
		if w, ok := want[op.OperationID]; ok {
			slices.Sort(w)
			if !slices.Equal(names, w) {
				t.Errorf("%s has %q, want %q", op.OperationID, names, w)
			}
		}
	}
	rules := d.Components["parameters"]["dnsMatchRule"].(map[string]any)["schema"].(map[string]any)["enum"].([]any)
	if len(rules) != len(families)-1 { // no rule is one, too
		t.Errorf("%d rules, want %d", len(rules), len(families)-1)
	}
	for _, r := range rules {
		if _, ok := families[r.(string)]; !ok {
			t.Errorf("there is no rule %v", r)
		}
	}
}
