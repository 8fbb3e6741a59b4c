package cli

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"owl/internal/getopt"
	"owl/internal/privilege"
	"owl/probe"
	"owl/probe/clock"
)

// EngineOptions are what a command line, or the file of owagent, says of the
// engine that sends and receives test packets. Two that are equal say the same.
type EngineOptions struct {
	Pacing   probe.Pacing
	Cold     bool // no copies ready the host for the first packet after a rest
	Capture  probe.Capture
	Transmit probe.Transmit
	Pcap     string // file of the packets; empty: none
}

// EngineLong declares the options to package getopt.
var EngineLong = []getopt.Long{
	{Name: "pacing", Arg: true},
	{Name: "no-warm"},
	{Name: "capture", Arg: true},
	{Name: "transmit", Arg: true},
	{Name: "pcap", Arg: true},
}

// EngineUsage describes them.
const EngineUsage = `   --pacing HOW   send packets precise (within microseconds, at the cost of up to
                  one processor), normal (default) or economy (some 0.2 ms late)
   --no-warm      do not ready this host for the first packet after a rest
   --capture HOW  receive packets from udp sockets (default), or from a raw ring of
                  each interface, which takes root or CAP_NET_RAW
   --transmit HOW send packets from udp sockets (default), or from a raw one for
                  all ports, which takes root or CAP_NET_RAW
   --pcap FILE    write all test packets to a file in the format pcapng, which takes
                  root or CAP_NET_RAW
`

// Set takes over one option as package getopt gives it. It reports whether the
// option is one of [EngineLong].
func (o *EngineOptions) Set(name, value string) (ok bool, err error) {
	switch name {
	case "pacing":
		o.Pacing, err = probe.ParsePacing(value)
	case "no-warm":
		o.Cold = true
	case "capture":
		o.Capture, err = probe.ParseCapture(value)
	case "transmit":
		o.Transmit, err = probe.ParseTransmit(value)
	case "pcap":
		if o.Pcap = value; value == "" {
			err = errors.New("want the name of a file")
		}
	default:
		return false, nil
	}
	if err != nil {
		err = fmt.Errorf("option --%s: %w", name, err)
	}
	return true, err
}

// Needs returns the privileges that the engine takes as long as it is there.
func (o *EngineOptions) Needs() privilege.Needs {
	return privilege.Needs{
		RawSockets: o.Capture == probe.CaptureRaw || o.Transmit == probe.TransmitRaw || o.Pcap != "",
		RealTime:   o.Pacing != probe.PacingEconomy,
	}
}

// Check returns an error if the process lacks a privilege that [EngineOptions.Open]
// takes.
func (o *EngineOptions) Check() error {
	cfg := o.config()
	if o.Pcap != "" {
		cfg.Pcap = io.Discard
	}
	return cfg.Allowed()
}

func (o *EngineOptions) config() probe.Config {
	return probe.Config{Pacing: o.Pacing, Cold: o.Cold, Capture: o.Capture, Transmit: o.Transmit}
}

// An Engine is a [probe.Engine] with the file that its packets are written to.
type Engine struct {
	*probe.Engine
	pcap *os.File // nil: none
}

// Open starts the engine that the options describe. Whoever calls it does so
// before all else that others could notice: it fails, and leaves nothing behind,
// if the options take a privilege that the process does not have.
func (o *EngineOptions) Open(clock *clock.Clock, log *slog.Logger) (*Engine, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	cfg := o.config()
	cfg.Clock, cfg.Log = clock, log
	e := new(Engine)
	var err error
	if o.Pcap != "" {
		if e.pcap, err = os.Create(o.Pcap); err != nil {
			return nil, fmt.Errorf("file of test packets: %w", err)
		}
		cfg.Pcap = e.pcap
	}
	if e.Engine, err = probe.New(cfg); err != nil {
		if e.pcap != nil {
			e.pcap.Close()
		}
		return nil, err
	}
	return e, nil
}

// Close closes the engine, and then the file. What it returns says, too, why the
// file is not whole.
func (e *Engine) Close() error {
	err := e.Engine.Close()
	if e.pcap != nil {
		err = errors.Join(err, e.pcap.Close())
	}
	return err
}

// Describe says in a line each what is not as it would be without options.
func (o *EngineOptions) Describe() []string {
	var lines []string
	if o.Pacing != probe.PacingNormal {
		lines = append(lines, fmt.Sprintf("pacing is %v", o.Pacing))
	}
	if o.Cold {
		lines = append(lines, "nothing readies this host for the first packet after a rest")
	}
	if o.Capture != probe.CaptureUDP {
		lines = append(lines, fmt.Sprintf("packets are received from %v rings of the interfaces", o.Capture))
	}
	if o.Transmit != probe.TransmitUDP {
		lines = append(lines, fmt.Sprintf("packets are sent from %v sockets", o.Transmit))
	}
	if o.Pcap != "" {
		lines = append(lines, "packets are written to "+o.Pcap)
	}
	return lines
}
