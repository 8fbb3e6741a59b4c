package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"owl/owamp"
	"owl/owamp/control"
)

// connectTimeout bounds the opening and setting up of a control connection,
// all addresses of the server together.
const connectTimeout = time.Minute

// ClientOptions are what a command line says of the control connection: the
// options that owping, owfetch and owup share.
type ClientOptions struct {
	Family  Family
	Modes   owamp.Mode // acceptable security modes; 0: not given
	User    string
	KeyFile string
	Source  string // of the connection and of test packets: host, address or interface
	Device  string
}

// ClientLetters declares the options to package getopt.
const ClientLetters = "46A:k:S:B:u:"

// ClientUsage describes the options.
const ClientUsage = `              [Connection Args]

   -A authmode    acceptable modes: letters of A [authenticated], E [encrypted], O [open]
   -k pffile      pass-phrase file for the user of -u
   -S srcaddr     use this local address, or that of this interface
   -B interface   bind to this device
   -u username    name of the pass-phrase
   -4             use IPv4 only
   -6             use IPv6 only
`

// Set takes over one option as package getopt gives it. It reports whether the
// option is one of [ClientLetters].
func (o *ClientOptions) Set(name, value string) (ok bool, err error) {
	switch name {
	case "4", "6":
		f := Family(name[0] - '0')
		if o.Family != AnyFamily && o.Family != f {
			return true, errors.New("-4 and -6 flags cannot be set together")
		}
		o.Family = f
	case "A":
		if o.Modes, err = owamp.ParseMode(value); err != nil {
			err = fmt.Errorf("Invalid -authmode %s: want letters out of A, E and O", value) //nolint:staticcheck // the C suite's words
		}
	case "k":
		o.KeyFile = value
	case "S":
		o.Source = value
	case "B":
		if o.Device != "" {
			return true, errors.New("-B can only be used once")
		}
		o.Device = value
	case "u":
		o.User = value
	default:
		return false, nil
	}
	return true, err
}

// Validate finds what is asked for and not to be had.
func (o *ClientOptions) Validate() error {
	switch {
	case o.Modes != 0 && o.Modes&owamp.ModeOpen == 0:
		return fmt.Errorf("-A %v: only open mode (O) is to be had", o.Modes)
	case o.User != "" || o.KeyFile != "":
		return errors.New("-u and -k: only open mode is to be had, which has no users")
	}
	return nil
}

// Dialer returns what opens control connections to server for tests with the
// host test, both as the command line has them. Without a server the test
// address is the server's, without a test address the server's is the test's.
func (o *ClientOptions) Dialer(r Resolver, test, server string) (*Dialer, error) {
	d := &Dialer{Resolver: r, Family: o.Family, Source: o.Source, Device: o.Device}
	var err error
	if test != "" {
		if d.Test, d.Port, err = parsePeer(test); err != nil {
			return nil, err
		}
		d.Server = d.Test
	}
	if server != "" {
		d.Server, d.Port, err = parsePeer(server)
	}
	return d, err
}

// parsePeer is [ParseHostPort] of an address that has a host.
func parsePeer(s string) (host, port string, err error) {
	host, port, err = ParseHostPort(s, DefaultPort)
	if err == nil && host == "" {
		err = fmt.Errorf("address %q: want a host", s)
	}
	return host, port, err
}

// Connect opens a control connection by d and sets it up. Its errors name the
// server.
func (o *ClientOptions) Connect(ctx context.Context, d *Dialer) (*control.Client, *Connection, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := d.Dial(ctx)
	var client *control.Client
	if err == nil {
		client, err = control.Connect(ctx, conn, control.ClientConfig{Modes: o.Modes & owamp.ModeOpen})
	}
	if err != nil {
		//nolint:staticcheck // the C suite's words
		return nil, nil, fmt.Errorf("Unable to open control connection to %s: %w", net.JoinHostPort(d.Server, d.Port), err)
	}
	return client, conn, nil
}
