package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"owl/archive/dest"
	"owl/archive/tstat"
	"owl/internal/argparse"
	"owl/internal/command"
)

var program = command.Program{Name: "tstat_send", Usage: `usage: tstat_send -d DIR [arguments]
[arguments] are as follows:

   -h | --help    print this message and exit
   --version      print the version and exit

  [what is sent]
   -d DIR | --directory DIR
                  root of the directories that tstat writes; has no default
   -T MBYTES | --threshold MBYTES
                  leave out transfers below so many megabytes (1000); 0: send all
   --bits BITS    the same in bits, instead of -T
   -S ID | --sensor ID
                  sensor_id of the messages (this host's name)
   -I ID | --instance ID
                  instance_id of the messages (0), where a sensor has several tstat streams
   --message-format FORMAT
                  0.6.8 (default), 0.6.5 or documented: what the objects have in them
   -s | --single  end behind the first directory that has something to send

  [where to]
   -c FILE | --config FILE
                  config file of the transport (./config.ini)
   -t TYPE | --transport TYPE
                  rabbit (default), or one of
                  ` + strings.Join(dest.Names, " ") + `
   -N | --no-transport
                  print the messages instead of sending them, and MARK DIRECTORIES AS PROCESSED
                  all the same

  [what is said]
   -v | --verbose
                  also tell of the config, of each slice and of each line that cannot be read
   -D | --debug   also tell of the connection to the broker
`}

// taken are the options. Owl's own must be written out, so that beginnings mean
// what they mean to the original.
var taken = argparse.Options{
	{Letter: "h", Name: "help"},
	{Name: "version", Whole: true},
	{Letter: "d", Name: "directory", Arg: true},
	{Letter: "c", Name: "config", Arg: true},
	{Letter: "T", Name: "threshold", Arg: true},
	{Name: "bits", Arg: true, Whole: true},
	{Letter: "t", Name: "transport", Arg: true},
	{Letter: "S", Name: "sensor", Arg: true},
	{Letter: "I", Name: "instance", Arg: true},
	{Name: "message-format", Arg: true, Whole: true},
	{Letter: "s", Name: "single"},
	{Letter: "v", Name: "verbose"},
	{Letter: "D", Name: "debug"},
	{Letter: "N", Name: "no-transport"},
}

// bitsPerMegabyte is what a threshold counts in.
const bitsPerMegabyte = 8_000_000

// options are what the command line asks for.
type options struct {
	command.Standard
	directory, config, transport string
	send                         tstat.Options
	verbose, debug, dump         bool
}

// parse reads a command line, and looks whether what it names is there.
func parse(args []string) (*options, error) {
	o := &options{config: "./config.ini", transport: tstat.RabbitName}
	o.send.Format = tstat.V068
	o.send.Bits = 1000 * bitsPerMegabyte
	given, others, wrong := taken.Parse(args)
	sensor, threshold := false, ""
	for _, g := range given {
		var err error
		switch g.Name {
		case "directory":
			o.directory = g.Value
		case "config":
			o.config = g.Value
		case "transport":
			o.transport = g.Value
		case "sensor":
			o.send.Sensor, sensor = g.Value, true
		case "instance":
			o.send.Instance = &g.Value
		case "threshold", "bits":
			if threshold != "" && threshold != g.Name {
				return nil, errors.New("argument --bits: not allowed with argument -T/--threshold")
			}
			threshold = g.Name
			if o.send.Bits, err = taken.Int(g); err == nil && g.Name == "threshold" {
				o.send.Bits = inBits(o.send.Bits)
			}
		case "message-format":
			if o.send.Format, err = tstat.ParseFormat(g.Value); err != nil {
				err = fmt.Errorf("argument --message-format: %w", err)
			}
		case "single":
			o.send.Single = true
		case "verbose":
			o.verbose = true
		case "debug":
			o.debug = true
		case "no-transport":
			o.dump, o.send.Forget = true, true
		default:
			o.SetStandard(g.Name)
		}
		if err != nil {
			return nil, err
		}
		if o.Asked() {
			return o, nil
		}
	}
	if wrong != nil {
		return nil, wrong
	}
	if err := taken.Missing(given, "directory"); err != nil {
		return nil, err
	}
	if len(others) > 0 {
		return nil, fmt.Errorf("unrecognized arguments: %s", strings.Join(others, " "))
	}
	if !sensor {
		var err error
		if o.send.Sensor, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("the name of this host is needed without -S/--sensor: %w", err)
		}
	}
	return o, o.look()
}

// inBits returns a threshold in megabytes as one in bits.
func inBits(megabytes int64) int64 {
	if megabytes > math.MaxInt64/bitsPerMegabyte {
		return math.MaxInt64
	}
	return max(megabytes, math.MinInt64/bitsPerMegabyte) * bitsPerMegabyte
}

// look looks whether what the command line names is there.
func (o *options) look() error {
	if info, err := os.Stat(o.directory); err != nil || !info.IsDir() {
		return fmt.Errorf("%s directory path does not exist", o.directory)
	}
	if _, err := os.Stat(o.config); err != nil {
		path, absErr := filepath.Abs(o.config)
		if absErr != nil {
			path = o.config
		}
		return fmt.Errorf("%s config file does not exist", path)
	}
	if o.transport != tstat.RabbitName && !slices.Contains(dest.Names, o.transport) {
		return fmt.Errorf("%s is not a valid transport type: want %s, %s", o.transport, tstat.RabbitName, strings.Join(dest.Names, ", "))
	}
	return nil
}
