package archivingtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"testing"

	"owl/internal/testprog"
)

// An Archive is a measurement archive that is asked over REST.
type Archive struct {
	URL string // without a slash behind it
}

// get returns what an archive answers with, into v.
func (a Archive) get(t *testing.T, path string, v any) {
	t.Helper()
	resp, err := http.Get(a.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d, %v: %s", path, resp.StatusCode, err, body)
	}
	if err := json.Unmarshal(body, v); err != nil {
		t.Fatalf("%s: %v in %s", path, err, body)
	}
}

// A Registration is a measurement as an archive answers with it.
type Registration struct {
	URI        string `json:"uri"`
	EventTypes []struct {
		Name string `json:"event-type"`
	} `json:"event-types"`
	all map[string]any
}

// UnmarshalJSON implements [json.Unmarshaler].
func (r *Registration) UnmarshalJSON(text []byte) error {
	type plain Registration
	return errors.Join(json.Unmarshal(text, (*plain)(r)), json.Unmarshal(text, &r.all))
}

// Plain returns it without what each archive makes up.
func (r *Registration) Plain() map[string]any {
	m := maps.Clone(r.all)
	for _, name := range []string{"url", "uri", "metadata-key"} {
		delete(m, name)
	}
	var types []any
	for _, e := range r.EventTypes {
		types = append(types, e.Name)
	}
	m["event-types"] = types
	return m
}

// Find returns the one measurement of a search that an archive has, and
// what reads it; nil: there is none yet.
func (a Archive) Find(t *testing.T, query string) (*Registration, Reading) {
	t.Helper()
	var all []Registration
	a.get(t, "/esmond/perfsonar/archive/?"+query, &all)
	if len(all) == 0 {
		return nil, nil
	}
	if len(all) > 1 {
		t.Fatalf("%+v, want one measurement", all)
	}
	return &all[0], func(event string) map[int64]json.RawMessage {
		var points []struct {
			Time int64           `json:"ts"`
			Val  json.RawMessage `json:"val"`
		}
		a.get(t, all[0].URI+event+"/base?time-start=0&limit=100000", &points)
		values := make(map[int64]json.RawMessage)
		for _, p := range points {
			values[p.Time] = p.Val
		}
		return values
	}
}

// Await waits until an archive has a measurement, that of a search, with points at
// these seconds.
func (a Archive) Await(t *testing.T, query string, sums map[int64]*Sum) Reading {
	t.Helper()
	var read Reading
	testprog.Until(t, fmt.Sprintf("%d points", len(sums)), func() error {
		if _, read = a.Find(t, query); read == nil {
			return fmt.Errorf("no measurement with %s", query)
		}
		sent := read("packet-count-sent")
		for at := range sums {
			if sent[at] == nil {
				return fmt.Errorf("%d points, none at %d", len(sent), at)
			}
		}
		return nil
	})
	return read
}
