package stamp

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"owl/probe/clock"
)

// fakeDriver is a driver whose answers the test sets.
type fakeDriver struct {
	info            unix.EthtoolTsInfo
	now             unix.HwTstampConfig
	infoErr, setErr error
	configErr       error
	phcErr          error
	grants          int32 // the filter that it sets instead of the one that was asked for
	set, closed     int
}

func (d *fakeDriver) offers() (*unix.EthtoolTsInfo, error)  { return &d.info, d.infoErr }
func (d *fakeDriver) config() (*unix.HwTstampConfig, error) { c := d.now; return &c, d.configErr }
func (d *fakeDriver) setConfig(c *unix.HwTstampConfig) error {
	d.set++
	if d.setErr == nil {
		d.now = *c
		if d.grants != 0 {
			d.now.Rx_filter = d.grants
		}
	}
	return d.setErr
}
func (d *fakeDriver) phc(int) (Crosser, error)       { return d, d.phcErr }
func (d *fakeDriver) Cross() (clock.Crossing, error) { return clock.Crossing{}, nil }
func (d *fakeDriver) Close() error                   { d.closed++; return nil }

func TestOpenCard(t *testing.T) {
	const everything = unix.SOF_TIMESTAMPING_RX_HARDWARE | unix.SOF_TIMESTAMPING_TX_HARDWARE | unix.SOF_TIMESTAMPING_RAW_HARDWARE
	able := unix.EthtoolTsInfo{So_timestamping: everything, Rx_filters: 1<<unix.HWTSTAMP_FILTER_NONE | 1<<unix.HWTSTAMP_FILTER_ALL, Tx_types: 1<<unix.HWTSTAMP_TX_OFF | 1<<unix.HWTSTAMP_TX_ON}
	change := func(f func(*unix.EthtoolTsInfo)) unix.EthtoolTsInfo { i := able; f(&i); return i }
	for _, tc := range []struct {
		name            string
		driver          fakeDriver
		receives, sends bool
		set             int
		err             string // a part of it
		none            bool   // it is ErrNoCard
	}{
		{"nobody has asked", fakeDriver{info: able}, true, true, 1, "", false},
		{"on already", fakeDriver{info: able, now: unix.HwTstampConfig{Tx_type: unix.HWTSTAMP_TX_ON, Rx_filter: unix.HWTSTAMP_FILTER_ALL}}, true, true, 0, "", false},
		{"receiving is on", fakeDriver{info: able, now: unix.HwTstampConfig{Rx_filter: unix.HWTSTAMP_FILTER_ALL}}, true, false, 0, "", false},
		{"sending is on", fakeDriver{info: able, now: unix.HwTstampConfig{Tx_type: unix.HWTSTAMP_TX_ON}}, false, true, 0, "", false},
		{"ptp4l's", fakeDriver{info: able, now: unix.HwTstampConfig{Tx_type: unix.HWTSTAMP_TX_ON, Rx_filter: unix.HWTSTAMP_FILTER_PTP_V2_EVENT}}, false, true, 0, "", false},
		{"a PTP server's that only listens", fakeDriver{info: able, now: unix.HwTstampConfig{Rx_filter: unix.HWTSTAMP_FILTER_PTP_V2_EVENT}}, false, false, 0, "another program", false},
		{"sends only", fakeDriver{info: change(func(i *unix.EthtoolTsInfo) { i.Rx_filters = 1 << unix.HWTSTAMP_FILTER_PTP_V2_EVENT })}, false, true, 1, "", false},
		{"receives only", fakeDriver{info: change(func(i *unix.EthtoolTsInfo) { i.Tx_types = 1 })}, true, false, 1, "", false},
		{"grants less than asked", fakeDriver{info: able, grants: unix.HWTSTAMP_FILTER_PTP_V2_EVENT}, false, true, 1, "", false},
		{"loopback", fakeDriver{info: unix.EthtoolTsInfo{So_timestamping: unix.SOF_TIMESTAMPING_TX_SOFTWARE, Phc_index: -1}}, false, false, 0, "offers no", true},
		{"no ethtool", fakeDriver{infoErr: unix.EOPNOTSUPP}, false, false, 0, "offers no", true},
		{"no clock", fakeDriver{info: change(func(i *unix.EthtoolTsInfo) { i.Phc_index = -1 })}, false, false, 0, "no clock", false},
		{"clock is not ours", fakeDriver{info: able, phcErr: unix.EACCES}, false, false, 0, "permission denied", false},
		{"may not configure", fakeDriver{info: able, setErr: unix.EPERM}, false, false, 1, "cannot be made to", false},
		{"cannot tell", fakeDriver{info: able, configErr: unix.EOPNOTSUPP}, false, false, 0, "not supported", false},
	} {
		d := tc.driver
		card, err := openCard("eth7", &d)
		if d.set != tc.set {
			t.Errorf("%s: configured %d times, want %d", tc.name, d.set, tc.set)
		}
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) || !strings.Contains(err.Error(), "eth7") || errors.Is(err, ErrNoCard) != tc.none {
				t.Errorf("%s: %v, want an error with %q that names the interface, ErrNoCard %t", tc.name, err, tc.err, tc.none)
			}
			if d.infoErr == nil && d.phcErr == nil && d.info.Phc_index >= 0 && d.closed != 1 {
				t.Errorf("%s: the clock was closed %d times, want once", tc.name, d.closed)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if card.Receives != tc.receives || card.Sends != tc.sends || card.Name != "eth7" {
			t.Errorf("%s: %+v, want receives %t, sends %t", tc.name, card, tc.receives, tc.sends)
		}
		if card.Close(); d.closed != 1 {
			t.Errorf("%s: the clock was closed %d times, want once", tc.name, d.closed)
		}
	}
}

// The loopback interface has no card.
func TestOpenCardLoopback(t *testing.T) {
	s := reporting(t)
	if card, err := OpenCard(s.socket, "lo"); !errors.Is(err, ErrNoCard) {
		t.Errorf("OpenCard of lo = %+v, %v, want ErrNoCard", card, err)
	}
	if card, err := OpenCard(s.socket, "nosuchdevice0"); err == nil || !strings.Contains(err.Error(), "nosuchdevice0") {
		t.Errorf("OpenCard of an interface that is not there = %+v, %v", card, err)
	}
}
