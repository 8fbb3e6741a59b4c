package owamp

import (
	"strings"
	"testing"
)

func TestParseDSCP(t *testing.T) {
	for s, want := range map[string]uint8{
		"0": 0, "46": 46, "0x2e": 46, "0X2E": 46, "056": 46, "63": 63, "0x3f": 63,
		"none": 0, "default": 0, "DF": 0, "df": 0, "EF": 46, "ef": 46,
		"CS0": 0, "cs1": 8, "CS7": 56,
		"AF11": 10, "AF12": 12, "AF13": 14, "AF21": 18, "af22": 20, "AF23": 22,
		"AF31": 26, "AF32": 28, "AF33": 30, "AF41": 34, "AF42": 36, "Af43": 38,
	} {
		if got, err := ParseDSCP(s); got != want || err != nil {
			t.Errorf("ParseDSCP(%q) = %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", " 1", "64", "0x40", "-1", "+1", "256", "4_6", "1e1", "CS8", "CS", "AF10", "AF14", "AF51", "AF01", "AF", "AF111", "EFF", "9999999999999999999999"} {
		if got, err := ParseDSCP(s); err == nil || !strings.Contains(err.Error(), "want") {
			t.Errorf("ParseDSCP(%q) = %d, %v; want an error that says what it wants", s, got, err)
		}
	}
}

func FuzzParseDSCP(f *testing.F) {
	for _, s := range []string{"46", "0x2e", "EF", "CS7", "AF43", "none", "64", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDSCP(s)
		if err != nil {
			return
		}
		// Whatever was understood survives the way through a session.
		spec := SessionSpec{TypeP: TypePOf(d)}
		if back, ok := spec.DSCP(); !ok || back != d {
			t.Fatalf("ParseDSCP(%q) = %#x, back from Type-P as %#x, %v", s, d, back, ok)
		}
	})
}
