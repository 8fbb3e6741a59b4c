//go:build !linux

package probe

import (
	"fmt"
	"net/netip"
	"runtime"

	"owl/owamp"
)

// An Engine exists only on Linux; see [New].
type Engine struct{}

// A Port exists only on Linux.
type Port struct{}

// A Receiving exists only on Linux.
type Receiving struct{}

// A Sending exists only on Linux.
type Sending struct{}

var errNoEngine = fmt.Errorf("test packets: no engine for %s, want linux", runtime.GOOS)

// Allowed returns nil: [New] fails anyway.
func (*Config) Allowed() error { return nil }

// New fails: there is no engine for this system.
func New(Config) (*Engine, error) { return nil, errNoEngine }

// Listen fails.
func (*Engine) Listen(PortConfig) (*Port, error) { return nil, errNoEngine }

// Slip returns zeros.
func (*Engine) Slip() *Distribution { return new(Distribution) }

// Incidents returns zeros.
func (*Engine) Incidents() Incidents { return Incidents{} }

// Transmit returns zeros.
func (*Engine) Transmit() TransmitStats { return TransmitStats{Gap: new(Distribution)} }

// Stamps returns zeros.
func (*Engine) Stamps() StampStats { return StampStats{} }

// Close does nothing.
func (*Engine) Close() error { return nil }

// Addr returns the zero address.
func (*Port) Addr() netip.AddrPort { return netip.AddrPort{} }

// Stats returns zeros.
func (*Port) Stats() PortStats { return PortStats{} }

// Receive fails.
func (*Port) Receive(ReceiveSpec, Batch) (*Receiving, error) { return nil, errNoEngine }

// Send fails.
func (*Port) Send(SendSpec) (*Sending, error) { return nil, errNoEngine }

// Close does nothing.
func (*Port) Close() error { return nil }

// Drain returns the zero time.
func (*Receiving) Drain() owamp.Timestamp { return 0 }

// Drained is Drain.
func (*Receiving) Drained() owamp.Timestamp { return 0 }

// Stats returns zeros.
func (*Receiving) Stats() ReceiveStats { return ReceiveStats{} }

// Close does nothing.
func (*Receiving) Close() {}

// Incidents returns zeros.
func (*Receiving) Incidents(from, to owamp.Timestamp) Incidents { return Incidents{} }

// Stop returns an empty report.
func (*Sending) Stop() owamp.SendReport { return owamp.SendReport{} }

// Incidents returns zeros.
func (*Sending) Incidents(from, to owamp.Timestamp) Incidents { return Incidents{} }

// Progress returns zeros.
func (*Sending) Progress() SendProgress { return SendProgress{} }
