package probe

import "testing"

func TestParseCapture(t *testing.T) {
	for _, want := range []Capture{CaptureUDP, CaptureRaw} {
		if got, err := ParseCapture(want.String()); got != want || err != nil {
			t.Errorf("ParseCapture(%q) = %v, %v", want.String(), got, err)
		}
	}
	for _, bad := range []string{"", "UDP", "pcap", "raw "} {
		if _, err := ParseCapture(bad); err == nil {
			t.Errorf("ParseCapture(%q) takes it", bad)
		}
	}
	if got, want := Capture(9).String(), "capture 9"; got != want {
		t.Errorf("String of no capture = %q, want %q", got, want)
	}
}
