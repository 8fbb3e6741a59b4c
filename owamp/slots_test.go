package owamp

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseSlots(t *testing.T) {
	for s, want := range map[string][]Slot{
		"0.1":           {{SlotExponential, 0x19999999}},
		"1e":            {{SlotExponential, 1 << 32}},
		"1f":            {{SlotFixed, 1 << 32}},
		"1e-1":          {{SlotExponential, 0x19999999}},
		"1e-1e":         {{SlotExponential, 0x19999999}},
		"0.1,0.2f,1e":   {{SlotExponential, 0x19999999}, {SlotFixed, 0x33333333}, {SlotExponential, 1 << 32}},
		"0.5,0f":        {{SlotExponential, 1 << 31}, {SlotFixed, 0}},
		"4294967294.5f": {{SlotFixed, 0xfffffffe_80000000}},
	} {
		got, err := ParseSlots(s)
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%q: %v (-want +got)\n%s", s, err, d)
		}
	}
	for s, want := range map[string]string{
		"":           `schedule "": "": want seconds from 0, with f (fixed) or e (exponential) behind it or nothing`,
		"x":          `schedule "x": "x": want seconds from 0, with f (fixed) or e (exponential) behind it or nothing`,
		"0.1,":       `schedule "0.1,": "": want seconds from 0, with f (fixed) or e (exponential) behind it or nothing`,
		"0.1g":       `schedule "0.1g": "0.1g": want seconds from 0, with f (fixed) or e (exponential) behind it or nothing`,
		"-1":         `schedule "-1": "-1": want seconds from 0, with f (fixed) or e (exponential) behind it or nothing`,
		"inf":        `schedule "inf": "inf": want seconds from 0, with f (fixed) or e (exponential) behind it or nothing`,
		"nan":        `schedule "nan": "nan": want seconds from 0, with f (fixed) or e (exponential) behind it or nothing`,
		"4294967295": `schedule "4294967295": "4294967295": want seconds from 0, with f (fixed) or e (exponential) behind it or nothing`,
		"0,0f":       `schedule "0,0f": want a mean interval above 0`,
		"1e-10":      `schedule "1e-10": want a mean interval above 0`,
	} {
		if got, err := ParseSlots(s); err == nil || err.Error() != want {
			t.Errorf("%q: %v, %v; want %s", s, got, err, want)
		}
	}
}

func FuzzParseSlots(f *testing.F) {
	for _, s := range []string{"0.1", "0.1,0.2f,1e", "1e-1e", "inf", ",", "0x1p-2f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		slots, err := ParseSlots(s)
		if (err == nil) == (len(slots) == 0) {
			t.Errorf("%q: %v, %v", s, slots, err)
		}
	})
}
