package cli

import (
	"fmt"
	"log/slog"

	"owl/internal/getopt"
	"owl/probe"
	"owl/probe/clock"
)

// EngineOptions are what a command line, or the file of owagent, says of the
// engine that sends and receives test packets. Two that are equal say the same.
type EngineOptions struct {
	Pacing   probe.Pacing
	Cold     bool // no copies ready the host for the first packet after a rest
	Transmit probe.Transmit
}

// EngineLong declares the options to package getopt.
var EngineLong = []getopt.Long{
	{Name: "pacing", Arg: true},
	{Name: "no-warm"},
	{Name: "transmit", Arg: true},
}

// EngineUsage describes them.
const EngineUsage = `   --pacing HOW   send packets precise (within microseconds, at the cost of up to
                  one processor), normal (default) or economy (some 0.2 ms late)
   --no-warm      do not ready this host for the first packet after a rest
   --transmit HOW send packets from udp sockets (default), or from a raw one for
                  all ports, which takes root or CAP_NET_RAW
`

// Set takes over one option as package getopt gives it. It reports whether the
// option is one of [EngineLong].
func (o *EngineOptions) Set(name, value string) (ok bool, err error) {
	switch name {
	case "pacing":
		o.Pacing, err = probe.ParsePacing(value)
	case "no-warm":
		o.Cold = true
	case "transmit":
		o.Transmit, err = probe.ParseTransmit(value)
	default:
		return false, nil
	}
	if err != nil {
		err = fmt.Errorf("option --%s: %w", name, err)
	}
	return true, err
}

// Raw reports whether the options take CAP_NET_RAW, for as long as the engine
// is there.
func (o *EngineOptions) Raw() bool { return o.Transmit == probe.TransmitRaw }

// Open starts the engine that the options describe. Whoever calls it does so
// before all else that others could notice: it fails if the options take a
// privilege that the process does not have.
func (o *EngineOptions) Open(clock *clock.Clock, log *slog.Logger) (*probe.Engine, error) {
	return probe.New(probe.Config{Clock: clock, Log: log, Pacing: o.Pacing, Cold: o.Cold, Transmit: o.Transmit})
}

// Describe says in a line each what is not as it would be without options.
func (o *EngineOptions) Describe() []string {
	var lines []string
	if o.Pacing != probe.PacingNormal {
		lines = append(lines, fmt.Sprintf("packets are sent %v", o.Pacing))
	}
	if o.Cold {
		lines = append(lines, "nothing readies this host for the first packet after a rest")
	}
	if o.Transmit != probe.TransmitUDP {
		lines = append(lines, fmt.Sprintf("packets are sent from %v sockets", o.Transmit))
	}
	return lines
}
