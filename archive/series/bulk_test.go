package series

import (
	"errors"
	"fmt"
	"testing"
)

// Values come in their order, whatever the order of members; of members of one
// name the last one counts.
func TestParseBulk(t *testing.T) {
	body := `{"x": 1, "data": [], "data": [
		{"val": [{"val": {"a": 1}, "event-type": "failures", "more": 1}, {"event-type": "x\u002dy", "val": null}], "ts": 1},
		{"ts": "2", "val": []}, {"ts": 3.5, "val": [{"event-type": "z", "val": [ 1 ]}]}]}`
	var got string
	if err := ParseBulk([]byte(body), func(w Written) error {
		got += fmt.Sprintf("%s %s %s\n", w.Time, w.Event, w.Value)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := "1 failures {\"a\": 1}\n1 x-y null\n3.5 z [ 1 ]\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	stop := errors.New("stop")
	if err := ParseBulk([]byte(body), func(Written) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v, want that of add", err)
	}
}

func TestParsePoint(t *testing.T) {
	w, err := ParsePoint([]byte(` {"val": "7", "ts": 1.9} `))
	if err != nil || string(w.Time) != "1.9" || string(w.Value) != `"7"` {
		t.Errorf("%q, %v", w, err)
	}
	for body, want := range map[string]string{
		`[]`:                    "Required field ts not provided in request",
		`{"val": 1}`:            "Required field ts not provided in request",
		`{"ts": 1}`:             "Required field val not provided in request",
		`{"ts": "x"}`:           "Time must be a unix timestamp",
		`{"ts": 1, "val": 1} 2`: "JSON parse error - octet 21: want the end",
	} {
		if _, err := ParsePoint([]byte(body)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
}

// Whatever comes is read or refused; what is handed on is a part of it.
func FuzzParseBulk(f *testing.F) {
	for _, seed := range []string{
		`{"data": [{"ts": 1, "val": [{"event-type": "failures", "val": {"error": "x"}}]}]}`, `{"data": {}}`, `{"data": [{"val": []}]}`, `[]`, ``, `{"data": [[]]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		n := 0
		err := ParseBulk(body, func(w Written) error {
			if n++; len(w.Time) == 0 || len(w.Value) == 0 || n > len(body) {
				t.Errorf("value %d is %q", n, w)
			}
			return nil
		})
		if _, ok := errors.AsType[*InvalidError](err); err != nil && !ok {
			t.Errorf("%v, want an InvalidError", err)
		}
		if _, err := ParsePoint(body); err != nil {
			if _, ok := errors.AsType[*InvalidError](err); !ok {
				t.Errorf("%v, want an InvalidError", err)
			}
		}
	})
}
