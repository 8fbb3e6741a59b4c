package policy

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// settings are the values of a class's keys.
type settings struct {
	bandwidth, disk, testSessions, packetRate number
	connectionRate, requestRate               number

	allowOpen, deleteOnFetch, thirdParty onOff

	fetch FetchRight
}

// defaults are the values of what the root does not set.
var defaults = settings{allowOpen: true}

// inherited returns the values of what a child of s does not set. Its copy of a
// ceiling that holds for the whole host would say nothing.
func (s settings) inherited() settings {
	s.packetRate = 0
	return s
}

// A key is one of those that a limit line may set, apart from parent.
type key struct {
	name     string
	value    func(*settings) value
	rootOnly bool // it is of the whole host
	breaks   bool // it is printed on a new line
}

// A value is read from and printed to the file.
type value interface {
	encoding.TextUnmarshaler
	encoding.TextAppender
}

// keys are in the order in which they are printed.
var keys = []key{
	{name: "bandwidth", value: func(s *settings) value { return &s.bandwidth }, breaks: true},
	{name: "disk", value: func(s *settings) value { return &s.disk }},
	{name: "test_sessions", value: func(s *settings) value { return &s.testSessions }},
	{name: "packet_rate", value: func(s *settings) value { return &s.packetRate }, rootOnly: true},
	{name: "allow_open_mode", value: func(s *settings) value { return &s.allowOpen }, breaks: true},
	{name: "delete_on_fetch", value: func(s *settings) value { return &s.deleteOnFetch }},
	{name: "fetch", value: func(s *settings) value { return &s.fetch }},
	{name: "third_party", value: func(s *settings) value { return &s.thirdParty }},
	{name: "connection_rate", value: func(s *settings) value { return &s.connectionRate }, breaks: true},
	{name: "request_rate", value: func(s *settings) value { return &s.requestRate }},
}

// A number is an integer with a decimal suffix.
type number uint64

// suffixes[i] stands for 1000^(i+1).
const suffixes = "kmgtpez"

var (
	errNumber = errors.New("want digits, then at most one of k, m, g, t, p, e and z")
	errRange  = fmt.Errorf("want at most %d", uint64(math.MaxUint64))
)

func (n *number) UnmarshalText(text []byte) error {
	digits := strings.TrimRight(string(text), suffixes+"KMGTPEZ")
	suffix := strings.ToLower(string(text[len(digits):]))
	v, err := strconv.ParseUint(digits, 10, 64)
	switch {
	case len(suffix) > 1:
		return errNumber
	case errors.Is(err, strconv.ErrRange):
		return errRange
	case err != nil:
		return errNumber
	case suffix == "" || v == 0:
		*n = number(v)
		return nil
	}
	for range strings.Index(suffixes, suffix) + 1 {
		if v > math.MaxUint64/1000 {
			return errRange
		}
		v *= 1000
	}
	*n = number(v)
	return nil
}

// AppendText writes n with the greatest suffix that leaves it whole.
func (n number) AppendText(b []byte) ([]byte, error) {
	thousands := 0
	for n != 0 && n%1000 == 0 {
		n /= 1000
		thousands++
	}
	b = strconv.AppendUint(b, uint64(n), 10)
	if thousands > 0 {
		b = append(b, suffixes[thousands-1])
	}
	return b, nil
}

// onOff is on or off.
type onOff bool

func (o *onOff) UnmarshalText(text []byte) error {
	switch strings.ToLower(string(text)) {
	case "on":
		*o = true
	case "off":
		*o = false
	default:
		return errors.New("want on or off")
	}
	return nil
}

func (o onOff) AppendText(b []byte) ([]byte, error) {
	if o {
		return append(b, "on"...), nil
	}
	return append(b, "off"...), nil
}
