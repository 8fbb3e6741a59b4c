package member

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMembers(t *testing.T) {
	o, err := Parse("/data", []byte(`{"s": "x", "e": "", "i": 7, "f": 2.0, "g": 0.5, "b": true, "d": "PT1.5S", "o": {"x": [1]}, "a": [{"n": 1}, {"n": 2}], "z": null, "#c": {}}`))
	if err != nil {
		t.Fatal(err)
	}
	o.Need("s", "z")
	var ns []int64
	for _, e := range o.Objects("a") {
		ns = append(ns, e.Int("n", 0, 10, 0))
		e.Done()
	}
	x := o.Object("o")
	got := []any{o.String("s"), o.String("none"), o.String("e"), o.Int("i", 0, 10, 1), o.Int("f", 0, 10, 1), o.Int("none", 0, 10, 3), o.Float("g", 1), o.Float("none", 2),
		o.Bool("b", false), o.Bool("none", true), o.Duration("d", 0), o.Option("s", "y", "x"), o.Option("none", "y", "x"), o.Any("z"), o.Has("z"), ns, x.Array("x"), x.Path("a/b~")}
	want := []any{"x", "", "", int64(7), int64(2), int64(3), 0.5, 2.0, true, true, 1500 * time.Millisecond, "x", "y", nil, true, []int64{1, 2}, []any{json.Number("1")}, "/data/o/a~1b~0"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	x.Done()
	o.Done()
	if err := o.Err(); err != nil {
		t.Errorf("%v, want no error: all members are known", err)
	}
}

func TestErrors(t *testing.T) {
	o, err := Parse("", []byte(`{"s": 1, "_s": 1, "e": "", "i": 70, "b": "x", "d": 5, "o": [], "a": {}, "q": [1, {"y": 2}], "f": "1", "p": "z", "more": 1}`))
	if err != nil {
		t.Fatal(err)
	}
	o.String("s")
	o.String("_s")
	o.Text("e")
	o.Int("i", 0, 10, 0)
	o.Bool("b", false)
	o.Duration("d", 0)
	o.Object("o")
	o.Array("a")
	for _, e := range o.Objects("q") {
		e.Done()
	}
	o.Float("f", 0)
	o.Option("p", "x", "y")
	o.Need("gone")
	o.Done()
	want := `/s: 1: want a string
/_s: a secret that will not do: want a string
/e: "": want a string that is not empty
/i: 70: want a whole number from 0 to 10
/b: "x": want true or false
/d: 5: want an ISO 8601 duration
/o: an array: want an object
/a: an object: want an array
/q/0: 1: want an object
/q/1/y: is unknown: want none
/f: "1": want a number
/p: "z": want one of x, y
/gone: is missing
/more: is unknown: want one of _s, a, b, d, e, f, gone, i, o, p, q, s`
	if d := cmp.Diff(strings.Split(want, "\n"), strings.Split(o.Err().Error(), "\n")); d != "" {
		t.Error(d)
	}
}

func TestMasked(t *testing.T) {
	v, err := Decode([]byte(`{"_a": {"b": 1}, "c": [{"_d": "x", "e": "y"}], "f": 1}`))
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(Masked(v))
	if want := `{"_a":null,"c":[{"_d":null,"e":"y"}],"f":1}`; err != nil || string(got) != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
	if again, _ := json.Marshal(v); !strings.Contains(string(again), `"x"`) {
		t.Errorf("%s: what was masked has changed", again)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"a": [1, {"#b": 2, "_c": "d"}], "e": 1e400}`))
	f.Add([]byte(strings.Repeat("[", 100)))
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := Decode(text)
		if err != nil {
			return
		}
		b, err := json.Marshal(Masked(v))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if again, err := Decode(b); err != nil {
			t.Errorf("%q is read, and %q is not: %v, %v", text, b, again, err)
		}
	})
}
