package main

import (
	"fmt"
	"strings"
	"time"

	"owl/internal/table"
	"owl/probe/clock"
)

// A clockStatus is what is known of the clock. Times with the unit s are seconds.
type clockStatus struct {
	MaxError *float64       `json:"max_error_s,omitempty"` // if somebody knows
	Steps    uint64         `json:"steps"`                 // since the agent began
	Stepped  float64        `json:"stepped_s"`             // by so much in all
	Sources  []sourceStatus `json:"sources,omitempty"`
}

// A sourceStatus is what one that was asked says of the clock.
type sourceStatus struct {
	Via            clock.Via  `json:"via"`
	Server         string     `json:"server"`
	Reference      string     `json:"reference,omitempty"`
	Synchronized   bool       `json:"synchronized"`
	Stratum        uint8      `json:"stratum"`
	Offset         float64    `json:"offset_s"`
	RootDelay      float64    `json:"root_delay_s"`
	RootDispersion float64    `json:"root_dispersion_s"`
	Jitter         float64    `json:"jitter_s"`
	Wander         float64    `json:"wander_ppm"`
	Poll           float64    `json:"poll_s"`
	Reach          uint8      `json:"reach"`
	Last           *time.Time `json:"last,omitempty"` // answer; none yet
	Error          string     `json:"error,omitempty"`
}

func clockStatusOf(s clock.State) clockStatus {
	st := clockStatus{Steps: s.Steps.Count, Stepped: s.Steps.Sum.Seconds()}
	if s.MaxError > 0 {
		st.MaxError = new(s.MaxError.Seconds())
	}
	for i := range s.Sources {
		src := &s.Sources[i]
		one := sourceStatus{
			Via: src.Via, Server: src.Name, Reference: src.Reference, Synchronized: src.Synchronized,
			Stratum: src.Stratum, Offset: src.Offset.Seconds(), RootDelay: src.Delay.Seconds(),
			RootDispersion: src.Dispersion.Seconds(), Jitter: src.Jitter.Seconds(), Wander: src.Wander,
			Poll: src.Poll.Seconds(), Reach: src.Reach,
		}
		if !src.Last.IsZero() {
			one.Last = &src.Last
		}
		if src.Err != nil {
			one.Error = src.Err.Error()
		}
		st.Sources = append(st.Sources, one)
	}
	return st
}

// clockLine says in a line how good the clock is.
func (st *status) clockLine() string {
	duration := func(s float64) string { return table.Duration(seconds(s)) }
	first := "not synchronized"
	if st.ClockError != nil {
		first = "synchronized, off by about " + duration(*st.ClockError)
	}
	switch {
	case st.Clock.MaxError == nil:
	case st.ClockError != nil:
		first += ", at most " + duration(*st.Clock.MaxError)
	default:
		first += ", off by at most " + duration(*st.Clock.MaxError)
	}
	parts := []string{first}
	servers, answer := 0, 0
	for i := range st.Clock.Sources {
		src := &st.Clock.Sources[i]
		switch {
		case src.Via != clock.ViaChrony:
			servers++
			if src.Synchronized {
				answer++
			}
		case src.Synchronized:
			parts = append(parts, fmt.Sprintf("chronyd follows %s at stratum %d", table.Plain(src.Reference), src.Stratum))
		case src.Error != "":
			parts = append(parts, "chronyd does not answer")
		default:
			parts = append(parts, "chronyd follows nobody")
		}
	}
	if servers > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d NTP servers answer", answer, servers))
	}
	switch st.Clock.Steps {
	case 0:
	case 1:
		parts = append(parts, "set once, by "+duration(st.Clock.Stepped))
	default:
		parts = append(parts, fmt.Sprintf("set %d times, by %s in all", st.Clock.Steps, duration(st.Clock.Stepped)))
	}
	return "clock: " + strings.Join(parts, "; ")
}
