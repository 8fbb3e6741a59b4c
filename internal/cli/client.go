package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strconv"
	"time"

	"owl/internal/getopt"
	"owl/owamp"
	"owl/owamp/control"
	"owl/sessions/policy"
)

// connectTimeout bounds the opening and setting up of a control connection,
// all addresses of the server together.
const connectTimeout = time.Minute

// ClientOptions are what a command line says of the control connection: the
// options that all client programs share.
type ClientOptions struct {
	Family   Family
	Modes    owamp.Mode // acceptable security modes; 0: not given
	User     string     // empty: none, and so only open mode
	KeyFile  string     // that has the user's pass-phrase; empty: the user is asked
	MaxCount uint32     // of iterations that a server may ask for; 0: not given
	Source   string     // of the connection and of test packets: host, address or interface
	Device   string
}

// ClientLetters declares the options to package getopt.
const ClientLetters = "46A:k:S:B:u:"

// ClientLong declares those of them that have names.
var ClientLong = []getopt.Long{{Name: "max-pbkdf2-count", Arg: true}}

// ClientUsage describes the options.
const ClientUsage = `              [Connection Args]

   -A authmode    acceptable modes: letters of A [authenticated], E [encrypted], O [open];
                  the strictest that the server offers is taken (default AEO with -u, else O)
   -k pffile      pass-phrase file for the user of -u (default: ask at the terminal)
   -S srcaddr     use this local address, or that of this interface
   -B interface   bind to this device
   -u username    user whose pass-phrase authenticates this host
   -4             use IPv4 only
   -6             use IPv6 only
   --max-pbkdf2-count N
                  refuse a server that wants more iterations of the key derivation
                  (default 1048576, which take about a second)
`

// minCount is the least number of iterations that RFC 4656 section 3.1 allows.
const minCount = 1024

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
		if o.KeyFile = value; value == "" {
			err = errors.New("option -k: want the name of a file")
		}
	case "S":
		o.Source = value
	case "B":
		if o.Device != "" {
			return true, errors.New("-B can only be used once")
		}
		o.Device = value
	case "u":
		if o.User, err = value, policy.CheckUser(value); err != nil {
			err = fmt.Errorf("option -u: %q: %w", value, err)
		}
	case "max-pbkdf2-count":
		n, e := strconv.ParseUint(value, 10, 32)
		if o.MaxCount = uint32(n); e != nil || o.MaxCount < minCount {
			err = fmt.Errorf("option --max-pbkdf2-count: %q: want a number from %d to %d", value, minCount, uint32(math.MaxUint32))
		}
	default:
		return false, nil
	}
	return true, err
}

// Validate finds what is wrong with options that are each right.
func (o *ClientOptions) Validate() error {
	switch {
	case o.User != "":
	case o.KeyFile != "":
		return errors.New("option -k: want -u, too, for whose pass-phrase it is")
	case o.Modes != 0 && o.Modes&owamp.ModeOpen == 0:
		return fmt.Errorf("option -A: %v: want -u, too, or open mode (O), which has no users", o.Modes)
	}
	return nil
}

// Config returns how to talk over control connections. Where a mode that needs
// a pass-phrase is wanted, it is read from the file or asked for here, once for
// all connections: nobody is kept waiting in the middle of one. It logs a
// warning if others can read the file, too.
func (o *ClientOptions) Config(ctx context.Context, log *slog.Logger) (control.ClientConfig, error) {
	const secured = owamp.ModeAuthenticated | owamp.ModeEncrypted
	cfg := control.ClientConfig{Modes: cmp.Or(o.Modes, secured|owamp.ModeOpen), MaxCount: o.MaxCount}
	if o.User == "" || cfg.Modes&secured == 0 {
		cfg.Modes &= owamp.ModeOpen
		return cfg, nil
	}
	passphrase, err := o.passphrase(ctx, log)
	if err != nil {
		return control.ClientConfig{}, err
	}
	cfg.User = o.User
	cfg.Passphrase = func() ([]byte, error) { return passphrase, nil }
	return cfg, nil
}

// passphrase returns the pass-phrase of the user.
func (o *ClientOptions) passphrase(ctx context.Context, log *slog.Logger) ([]byte, error) {
	if o.KeyFile == "" {
		passphrase, err := AskPassphrase(ctx, o.User)
		if errors.Is(err, ErrNoTerminal) {
			return nil, fmt.Errorf("option -u: %w for the pass-phrase of %q: want -k", ErrNoTerminal, o.User)
		}
		return passphrase, err
	}
	store, err := policy.LoadPassphrases(o.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("option -k: %w", err)
	}
	passphrase, ok := store.Get(o.User)
	if !ok {
		//nolint:staticcheck // the C suite's words
		return nil, fmt.Errorf("Unable to find pass-phrase for id=%q from pffile=%q", o.User, o.KeyFile)
	}
	if err := store.Exposed(); err != nil {
		log.Warn(err.Error())
	}
	return passphrase, nil
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

// Connect opens a control connection and sets it up as cfg says. Its errors name
// the server, and the cause for which whole has ended if that is why.
func (d *Dialer) Connect(whole context.Context, cfg control.ClientConfig) (*control.Client, *Connection, error) {
	ctx, cancel := context.WithTimeout(whole, connectTimeout)
	defer cancel()
	conn, err := d.Dial(ctx)
	var client *control.Client
	if err == nil {
		client, err = control.Connect(ctx, conn, cfg)
	}
	if _, denied := errors.AsType[*control.DeniedError](err); denied {
		err = fmt.Errorf("Server denied access: %w", err) //nolint:staticcheck // the C suite's words
	}
	if err != nil {
		if whole.Err() != nil {
			err = context.Cause(whole)
		}
		//nolint:staticcheck // the C suite's words
		return nil, nil, fmt.Errorf("Unable to open control connection to %s: %w", net.JoinHostPort(d.Server, d.Port), err)
	}
	return client, conn, nil
}
