package capture

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
)

func TestInterfaces(t *testing.T) {
	lo, err := net.InterfaceByName(Loopback)
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	for _, tc := range []struct{ addr, device string }{
		{"127.0.0.1", ""}, {"127.9.8.7", ""}, {"::1", ""}, {"127.0.0.1", "lo"},
		{"fe80::1%lo", ""}, {"fe80::1%" + strconv.Itoa(lo.Index), ""},
	} {
		found, err := Interfaces(netip.MustParseAddr(tc.addr), tc.device)
		if err != nil || len(found) != 1 || found[0].Index != lo.Index || found[0].Name != Loopback {
			t.Errorf("Interfaces(%s, %q) = %+v, %v; want the loopback interface", tc.addr, tc.device, found, err)
		}
	}
	for _, tc := range []struct{ addr, device, want string }{
		{"192.0.2.77", "", "192.0.2.77"},
		{"127.0.0.1", "nothing0", `"nothing0"`},
		{"fe80::1%nothing0", "", `"nothing0"`},
	} {
		if found, err := Interfaces(netip.MustParseAddr(tc.addr), tc.device); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("Interfaces(%s, %q) = %+v, %v; want an error that says %s", tc.addr, tc.device, found, err, tc.want)
		}
	}
}
