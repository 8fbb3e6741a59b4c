package policy

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"owl/owamp"
)

func TestCost(t *testing.T) {
	const second = owamp.Interval(1 << 32)
	every := func(mean ...owamp.Interval) []owamp.Slot {
		var slots []owamp.Slot
		for _, m := range mean {
			slots = append(slots, owamp.Slot{Parameter: m})
		}
		return slots
	}
	tests := []struct {
		name                  string
		addr                  string
		mode                  owamp.Mode
		slots                 []owamp.Slot
		packets, padding      uint32
		bandwidth, rate, disk uint64
	}{
		// The C suite logs this bandwidth; the header is 200 by its estimate.
		{"100/s", "10.98.0.1", owamp.ModeOpen, every(owamp.IntervalSeconds(0.01)), 100, 0, 33600, 100, 2700},
		{"mapped", "::ffff:10.98.0.1", owamp.ModeOpen, every(second), 1, 0, 42 * 8, 1, 225},
		{"IPv6", "2001:db8::1", owamp.ModeOpen, every(second), 1, 0, 62 * 8, 1, 225},
		{"authenticated", "10.98.0.1", owamp.ModeAuthenticated, every(second), 1, 0, 76 * 8, 1, 225},
		{"encrypted, padded", "2001:db8::1", owamp.ModeEncrypted, every(second), 1, 1000, 1096 * 8, 1, 225},
		{"slots", "10.98.0.1", owamp.ModeOpen, every(second/10, second/5, 0), 1000, 0, 42 * 8 * 10, 11, 25232},
		{"slow", "10.98.0.1", owamp.ModeOpen, every(600 * second), 1000, 0, 0, 1, 25200},
		{"fewer than fill a second", "10.98.0.1", owamp.ModeOpen, every(second / 1000), 10, 0, 336_000, 10, 450},
		{"at once", "10.98.0.1", owamp.ModeOpen, every(0), 7, 0, 7 * 42 * 8, 7, 375},
		{"as much as there can be", "2001:db8::1", owamp.ModeOpen, every(1), math.MaxUint32, math.MaxUint32,
			math.MaxUint64, math.MaxUint32, 200 + 25*math.MaxUint32},
		{"as much as there can be, at once", "2001:db8::1", owamp.ModeOpen, every(0), math.MaxUint32, math.MaxUint32,
			math.MaxUint64, math.MaxUint32, 200 + 25*math.MaxUint32},
		{"longest interval", "10.98.0.1", owamp.ModeOpen, every(math.MaxUint64, math.MaxUint64), 2, 0, 0, 1, 266},
	}
	for _, tt := range tests {
		spec := &owamp.SessionSpec{
			Receiver: netip.AddrPortFrom(netip.MustParseAddr(tt.addr), 9000),
			Slots:    tt.slots, Packets: tt.packets, Padding: tt.padding,
			Timeout: owamp.IntervalOf(2 * time.Second),
		}
		if got := BandwidthOf(spec, tt.mode); got != tt.bandwidth {
			t.Errorf("%s: bandwidth %d, want %d", tt.name, got, tt.bandwidth)
		}
		if got := PacketRateOf(spec); got != tt.rate {
			t.Errorf("%s: packet rate %d, want %d", tt.name, got, tt.rate)
		}
		if got := DiskOf(spec); got != tt.disk {
			t.Errorf("%s: disk %d, want %d", tt.name, got, tt.disk)
		}
	}
}
