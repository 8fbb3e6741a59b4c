package retry

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/archive/member"
)

func read(t *testing.T, text string, lax bool) (Policy, error) {
	t.Helper()
	o, err := member.Parse("/data", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p := Read(o, lax)
	o.Done()
	return p, o.Err()
}

// The example of the archiver reference, walked as pScheduler walks it.
func TestPolicy(t *testing.T) {
	p, err := read(t, `{"retry-policy": [{"attempts": 1, "wait": "PT60S"}, {"attempts": 1, "wait": "PT300S"}, {"attempts": 11, "wait": "PT3600S"}]}`, false)
	if err != nil {
		t.Fatal(err)
	}
	var waits []time.Duration
	for tries := int64(1); ; tries++ {
		w, ok := p.Wait(tries)
		if !ok {
			break
		}
		waits = append(waits, w)
	}
	want := []time.Duration{time.Minute, 5 * time.Minute}
	for range 11 {
		want = append(want, time.Hour)
	}
	if d := cmp.Diff(want, waits); d != "" {
		t.Error(d)
	}
	if w, ok := Policy(nil).Wait(1); ok {
		t.Errorf("without a policy: %v", w)
	}
}

func TestRead(t *testing.T) {
	for text, want := range map[string]string{
		`{"retry-policy": {}}`:                                           "/data/retry-policy: an object: want an array",
		`{"retry-policy": [3]}`:                                          "/data/retry-policy/0: 3: want an object",
		`{"retry-policy": [{"attempts": 0, "wait": "PT1S"}]}`:            "/data/retry-policy/0/attempts: 0: want a whole number from 1 to 2147483648",
		`{"retry-policy": [{"attempts": 1}]}`:                            "/data/retry-policy/0/wait: is missing",
		`{"retry-policy": [{"attempts": 1, "wait": "P1M"}]}`:             `/data/retry-policy/0/wait: "P1M": want an ISO 8601 duration`,
		`{"retry-policy": [{"attempts": 1, "wait": "PT1S", "x": 1}]}`:    "/data/retry-policy/0/x: is unknown: want one of attempts, wait",
		`{"retry-policy": [{"attempts": 1.5, "wait": "PT1S", "#x": 1}]}`: "/data/retry-policy/0/attempts: 1.5: want a whole number",
	} {
		if p, err := read(t, text, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v, want %s", text, p, err, want)
		}
	}
	if p, err := read(t, `{"retry-policy": [{"attempts": 2, "wait": "PT1S", "x": 1}]}`, true); err != nil || !cmp.Equal(p, Policy{{2, time.Second}}) {
		t.Errorf("lax: %v, %v", p, err)
	}
	if p, err := read(t, `{}`, false); err != nil || p != nil {
		t.Errorf("none: %v, %v", p, err)
	}
}

func TestGrow(t *testing.T) {
	before := time.Duration(0)
	for tries := int64(-1); tries < 200; tries++ {
		most, least := Grow(tries, 0), Grow(tries, 0.999999)
		if most < before || most > time.Hour || least < most/2 || least > most {
			t.Fatalf("after %d tries: %v to %v, before %v", tries, least, most, before)
		}
		before = most
	}
	if first, last := Grow(1, 0), Grow(1<<40, 0); first != 5*time.Second || last != time.Hour {
		t.Errorf("from %v to %v, want 5s to 1h", first, last)
	}
}

// A policy that is read ends, and makes as many retries as it says.
func FuzzRead(f *testing.F) {
	for _, s := range []string{
		`{"retry-policy": []}`, `{"retry-policy": [{"attempts": 1, "wait": "PT60S"}, {"attempts": 11, "wait": "PT1H"}]}`,
		`{"retry-policy": [{"attempts": 0, "wait": "PT1S"}]}`, `{"retry-policy": [{"attempts": 2147483648, "wait": "P9D", "more": 1}]}`,
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, text string, lax bool) {
		o, err := member.Parse("/data", []byte(text))
		if err != nil {
			return
		}
		p := Read(o, lax)
		if o.Err() != nil {
			return
		}
		all := int64(0)
		for _, s := range p {
			all += s.Attempts
			if wait, more := p.Wait(all); !more || wait != s.Wait || wait < 0 {
				t.Errorf("%s: retry %d after %v, %v, want %v", text, all, wait, more, s.Wait)
			}
		}
		if wait, more := p.Wait(all + 1); more {
			t.Errorf("%s: retry %d after %v, want %d", text, all+1, wait, all)
		}
	})
}
