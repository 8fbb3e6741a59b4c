package tstat

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestCells: what Python makes of cells. The file was made with Python 3.11, each
// cell by
//
//	json.dumps(int(cell)), or else json.dumps(round(float(cell), 3)), or else json.dumps(cell)
func TestCells(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/cells.tsv")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		cell, want, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if got := string(parse([]byte(cell)).appendJSON(nil)); got != want {
			t.Errorf("%q: %s, want %s", cell, got, want)
		}
	}
}

// What JSON does not have is null.
func TestNotFinite(t *testing.T) {
	t.Parallel()
	for _, cell := range []string{"nan", "-NaN", "inf", "-Infinity", "+INF", "1e999", "-1e999"} {
		if v := parse([]byte(cell)); v.kind != notFinite || string(v.appendJSON(nil)) != "null" {
			t.Errorf("%q: kind %d, %s", cell, v.kind, v.appendJSON(nil))
		}
	}
}

// TestThousandths: the short way to round gives what the long one gives.
func TestThousandths(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 50_000 {
		decimals := 1 + random.IntN(12)
		m := random.Int64N(powers[1+random.IntN(14)])
		if random.IntN(4) == 0 { // near a tie
			m = m/100_000*100_000 + 50_000 + int64(random.IntN(3)) - 1
		}
		short, ok := thousandths(m, decimals)
		if !ok {
			continue
		}
		text := strconv.FormatInt(m, 10)
		for len(text) <= decimals {
			text = "0" + text
		}
		f, err := strconv.ParseFloat(text[:len(text)-decimals]+"."+text[len(text)-decimals:], 64)
		if err != nil {
			t.Fatal(err)
		}
		if long := round(f, 3); math.Float64bits(short) != math.Float64bits(long) {
			t.Fatalf("%d / 10^%d: %v, want %v", m, decimals, short, long)
		}
	}
}

// FuzzParse: a cell is a number to us that is one to JSON, or a text that is the
// cell.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"0", "-12.5", "1e-7", "1455745857123.899902", "00000000000000000000001", "1.2.3.4", "nan", "é", "\xff", "-", "."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, cell string) {
		v := parse([]byte(cell))
		var back any
		if err := json.Unmarshal(v.appendJSON(nil), &back); err != nil {
			t.Fatalf("%q became %s: %v", cell, v.appendJSON(nil), err)
		}
		switch v.kind {
		case integer, float:
			want, err := strconv.ParseFloat(cell, 64)
			if got, ok := back.(float64); err != nil || !ok || math.Abs(got-want) > 0.0005+math.Abs(want)*1e-15 {
				t.Errorf("%q became %v", cell, back)
			}
		case text:
			if back != string([]rune(cell)) {
				t.Errorf("%q became %q", cell, back)
			}
		}
	})
}
