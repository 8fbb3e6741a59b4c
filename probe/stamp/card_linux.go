package stamp

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"owl/probe/clock"
)

// ErrNoCard says that an interface has no card that stamps packets.
var ErrNoCard = errors.New("its driver offers no time stamps of hardware")

// A driver is asked what the card of an interface can do, and does.
type driver interface {
	// offers returns what the card could do.
	offers() (*unix.EthtoolTsInfo, error)
	// config returns what it does, which is the same for all programs.
	config() (*unix.HwTstampConfig, error)
	setConfig(*unix.HwTstampConfig) error
	// phc returns the card's clock.
	phc(index int) (Crosser, error)
}

// OpenCard finds out whether the card of a network interface stamps test packets,
// of which socket is any in the same network namespace. An error says why not;
// it is [ErrNoCard] if that is all that can be expected.
//
// A card that stamps nothing, since nobody has asked it to, is asked to stamp
// everything, if the process may: the filters that cards have beside that are for
// the packets of PTP and NTP alone. It stays so. What others have configured,
// ptp4l or chronyd, is left alone.
func OpenCard(socket int, name string) (*Card, error) {
	return openCard(name, &kernelDriver{socket: socket, name: name})
}

func openCard(name string, d driver) (*Card, error) {
	fail := func(err error) (*Card, error) {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	info, err := d.offers()
	if err != nil {
		return fail(fmt.Errorf("%w (%w)", ErrNoCard, err))
	}
	const (
		raw     = unix.SOF_TIMESTAMPING_RAW_HARDWARE
		receive = unix.SOF_TIMESTAMPING_RX_HARDWARE | raw
		send    = unix.SOF_TIMESTAMPING_TX_HARDWARE | raw
	)
	all := info.So_timestamping&receive == receive && info.Rx_filters&(1<<unix.HWTSTAMP_FILTER_ALL) != 0
	on := info.So_timestamping&send == send && info.Tx_types&(1<<unix.HWTSTAMP_TX_ON) != 0
	if !all && !on {
		return fail(ErrNoCard)
	}
	if info.Phc_index < 0 {
		return fail(errors.New("its card has no clock that could be read"))
	}
	phc, err := d.phc(int(info.Phc_index))
	if err != nil {
		return fail(err)
	}
	card := NewCard(name, phc)
	if err := card.configure(d, all, on); err != nil {
		return fail(errors.Join(err, card.Close()))
	}
	return card, nil
}

// configure learns what the card stamps, having asked it to if nobody has; all
// and on say whether it can stamp what arrives and what leaves.
func (c *Card) configure(d driver, all, on bool) error {
	config, err := d.config()
	if err != nil {
		return fmt.Errorf("what its card stamps: %w", err)
	}
	if config.Rx_filter == unix.HWTSTAMP_FILTER_NONE && config.Tx_type == unix.HWTSTAMP_TX_OFF {
		config = new(unix.HwTstampConfig)
		if all {
			config.Rx_filter = unix.HWTSTAMP_FILTER_ALL
		}
		if on {
			config.Tx_type = unix.HWTSTAMP_TX_ON
		}
		if err := d.setConfig(config); err != nil {
			return fmt.Errorf("its card stamps nothing, and cannot be made to: %w", err)
		}
		if config, err = d.config(); err != nil {
			return fmt.Errorf("what its card stamps: %w", err)
		}
	}
	c.Receives = all && config.Rx_filter == unix.HWTSTAMP_FILTER_ALL
	c.Sends = on && config.Tx_type == unix.HWTSTAMP_TX_ON
	if !c.Receives && !c.Sends {
		return fmt.Errorf("its card stamps no test packets, as another program has configured it (receive filter %d, transmit type %d)", config.Rx_filter, config.Tx_type)
	}
	return nil
}

// Close closes the card's clock. [Card.Run] must have ended.
func (c *Card) Close() error {
	if closer, ok := c.clock.(interface{ Close() error }); ok {
		return closer.Close()
	}
	return nil
}

// kernelDriver asks the kernel.
type kernelDriver struct {
	socket int
	name   string
}

func (d *kernelDriver) offers() (*unix.EthtoolTsInfo, error) {
	info, err := unix.IoctlGetEthtoolTsInfo(d.socket, d.name)
	return info, os.NewSyscallError("ioctl ETHTOOL_GET_TS_INFO", err)
}

func (d *kernelDriver) config() (*unix.HwTstampConfig, error) {
	config, err := unix.IoctlGetHwTstamp(d.socket, d.name)
	return config, os.NewSyscallError("ioctl SIOCGHWTSTAMP", err)
}

func (d *kernelDriver) setConfig(config *unix.HwTstampConfig) error {
	return os.NewSyscallError("ioctl SIOCSHWTSTAMP", unix.IoctlSetHwTstamp(d.socket, d.name, config))
}

func (*kernelDriver) phc(index int) (Crosser, error) {
	p, err := clock.OpenPHC(index)
	if err != nil {
		return nil, err
	}
	return p, nil
}
