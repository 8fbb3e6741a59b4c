package main

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"owl/probe/clock"
)

// TestClockLine: the line says who says what, as it comes out of the document
// that the socket gives.
func TestClockLine(t *testing.T) {
	following := clock.Source{Via: clock.ViaChrony, Reference: "192.0.2.1\x1b[2J", Synchronized: true, Figures: clock.Figures{Stratum: 3}}
	answers := clock.Source{Via: clock.ViaNTP, Synchronized: true}
	silent := clock.Source{Via: clock.ViaNTP, Err: errors.New("no route to host")}
	for _, tc := range []struct {
		state clock.State
		want  string
	}{
		{clock.State{}, "clock: not synchronized"},
		{clock.State{Synchronized: true, Error: 35 * time.Microsecond}, "clock: synchronized, off by about 35.0 µs"},
		{clock.State{Sources: []clock.Source{answers, silent}, MaxError: 12 * time.Millisecond, Error: 12 * time.Millisecond},
			"clock: not synchronized, off by at most 12.0 ms; 1 of 2 NTP servers answer"},
		{clock.State{Synchronized: true, Error: 1500, MaxError: 4500 * time.Microsecond, Sources: []clock.Source{following}, Steps: clock.Steps{Count: 2, Sum: -250 * time.Millisecond}},
			"clock: synchronized, off by about 1.50 µs, at most 4.50 ms; chronyd follows 192.0.2.1?[2J at stratum 3; set 2 times, by -250 ms in all"},
		{clock.State{Sources: []clock.Source{{Via: clock.ViaChrony}}}, "clock: not synchronized; chronyd follows nobody"},
		{clock.State{Steps: clock.Steps{Count: 1, Sum: time.Hour}}, "clock: not synchronized; set once, by 1.00 h"},
		{clock.State{Sources: []clock.Source{{Via: clock.ViaChrony, Err: errors.New("refused")}}}, "clock: not synchronized; chronyd does not answer"},
	} {
		st := status{Synchronized: tc.state.Synchronized, Clock: clockStatusOf(tc.state)}
		if st.Synchronized {
			st.ClockError = new(tc.state.Error.Seconds())
		}
		text, err := json.Marshal(&st)
		if err != nil {
			t.Fatal(err)
		}
		var got status
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if line := got.clockLine(); line != tc.want {
			t.Errorf("%q, want %q", line, tc.want)
		}
	}
}
