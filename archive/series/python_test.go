package series

import (
	"strconv"
	"testing"
)

func TestStr(t *testing.T) {
	for _, pair := range load[[][2]string](t, "python.json") {
		s := &scanner{text: []byte(pair[0])}
		if got := s.str(); got != pair[1] || s.end() != nil {
			t.Errorf("%s is %s (%v), want %s", pair[0], got, s.err, pair[1])
		}
	}
}

func TestAppendFloat(t *testing.T) {
	for _, pair := range load[[][2]string](t, "floats.json") {
		f, err := strconv.ParseFloat(pair[0], 64)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(appendFloat(nil, f)); got != pair[1] {
			t.Errorf("%s is %s, want %s", pair[0], got, pair[1])
		}
	}
}

func TestToInt(t *testing.T) {
	for raw, want := range map[string]int64{
		"12": 12, "-12": -12, "1.5": 1, "-3.9": -3, `"12"`: 12, `" +12 "`: 12, "true": 1, "false": 0, "1e3": 1000, "123e-2": 1, "-0": 0, "0.0": 0, "0e999999999999": 0, "1e-999999999999": 0,
		"9223372036854775807": 9223372036854775807, "-9223372036854775808": -9223372036854775808, " 7 ": 7,
	} {
		if got, ok := toInt([]byte(raw)); got != want || !ok {
			t.Errorf("%s is %d, %t, want %d", raw, got, ok, want)
		}
	}
	for _, raw := range []string{`"1.5"`, `"x"`, `""`, "null", "[]", "{}", "", "01", "1 2", "9223372036854775808", "1e19", "1e400", "1e99999999999999999999", `"1_000"`, `"0x10"`, "nan", `"nan"`} {
		if got, ok := toInt([]byte(raw)); ok {
			t.Errorf("%s is %d, want nothing", raw, got)
		}
	}
}

func TestToUnits(t *testing.T) {
	for raw, want := range map[string]int64{
		"0.12": 1200, "-0.00019": -1, "12.34567": 123456, "0.57": 5700, "1.15": 11500, "3": 30000, `"1.5"`: 15000, "true": 10000, "1e-4": 1, "9.9e-5": 0, "-1.5e3": -15000000, `".5"`: 5000, `"5."`: 50000,
		"0.30000000000000004": 3000, "922337203685477": 9223372036854770000,
	} {
		if got, ok := toUnits([]byte(raw)); got != want || !ok {
			t.Errorf("%s is %d, %t, want %d", raw, got, ok, want)
		}
	}
	for _, raw := range []string{`"x"`, "null", "[1]", `"inf"`, `"NaN"`, "1e308", "1e400", "922337203685478", `"0x1p4"`, `"1_0"`, `"."`, `"e5"`, `"1e"`, `"+"`} {
		if got, ok := toUnits([]byte(raw)); ok {
			t.Errorf("%s is %d, want nothing", raw, got)
		}
	}
}
