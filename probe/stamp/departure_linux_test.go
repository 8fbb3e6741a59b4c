package stamp

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"owl/owamp"
)

// extendedError builds a struct sock_extended_err and the address of 0.0.0.0
// that follows it.
func extendedError(errno uint32, origin byte, info, data uint32) []byte {
	return join(native32(errno), []byte{origin, 0, 0, 0}, native32(info), native32(data), make([]byte, 16))
}

func TestParseReport(t *testing.T) {
	at := owamp.FromUnix(1700000000, 5)
	software := controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMPING, join(timespec(1700000000, 5), timespec(0, 0), timespec(0, 0))...)
	hardware := controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMPING, join(timespec(0, 0), timespec(0, 0), timespec(0, 77))...)
	small := controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMPING, join(native32(9), native32(8), native32(0), native32(0), native32(3), native32(2))...)
	id4 := controlMessage(unix.IPPROTO_IP, unix.IP_RECVERR, extendedError(uint32(unix.ENOMSG), unix.SO_EE_ORIGIN_TIMESTAMPING, unix.SCM_TSTAMP_SND, 42)...)
	id6 := controlMessage(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, extendedError(uint32(unix.ENOMSG), unix.SO_EE_ORIGIN_TIMESTAMPING, unix.SCM_TSTAMP_SND, 43)...)
	queued := controlMessage(unix.IPPROTO_IP, unix.IP_RECVERR, extendedError(uint32(unix.ENOMSG), unix.SO_EE_ORIGIN_TIMESTAMPING, 1, 42)...)
	icmp := controlMessage(unix.IPPROTO_IP, unix.IP_RECVERR, extendedError(uint32(unix.ECONNREFUSED), unix.SO_EE_ORIGIN_LOCAL+1, 0, 42)...)
	for _, tc := range []struct {
		name string
		oob  []byte
		want Report
		ok   bool
	}{
		{"nothing", nil, Report{}, false},
		{"IPv4, kernel", join(software, id4), Report{ID: 42, Time: at}, true},
		{"IPv6, card", join(id6, hardware), Report{ID: 43, Card: 77}, true},
		{"32 bits", join(small, id4), Report{ID: 42, Time: owamp.FromUnix(9, 8), Card: 3e9 + 2}, true},
		{"without a time", id4, Report{ID: 42}, true},
		{"entry into a queue", join(software, queued), Report{Time: at}, false},
		{"ICMP error", icmp, Report{}, false},
		{"a time alone", software, Report{Time: at}, false},
		{"cut off", controlMessage(unix.IPPROTO_IP, unix.IP_RECVERR, extendedError(0, unix.SO_EE_ORIGIN_TIMESTAMPING, 0, 1)[:15]...), Report{}, false},
	} {
		if got, ok := ParseReport(tc.oob); ok != tc.ok || got != tc.want {
			t.Errorf("%s: ParseReport = %+v, %t, want %+v, %t", tc.name, got, ok, tc.want, tc.ok)
		}
	}
}

func TestParseCard(t *testing.T) {
	oob := join(
		controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, timespec(1700000000, 5)...),
		controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMPING, join(timespec(1, 2), timespec(0, 0), timespec(3, 4))...),
		controlMessage(unix.SOL_SOCKET, unix.SCM_TIMESTAMPING_PKTINFO, join(native32(7), native32(90), make([]byte, 8))...),
	)
	want := Arrival{Time: owamp.FromUnix(1700000000, 5), TTL: 255, Card: 3e9 + 4, Interface: 7}
	if got := Parse(oob); got != want {
		t.Errorf("Parse = %+v, want %+v", got, want)
	}
	for _, bad := range [][]byte{nil, timespec(1, 2), join(timespec(1, 2), timespec(0, 0), timespec(1<<62, 4)), join(timespec(1, 2), timespec(0, 0), timespec(-1, 4))} {
		if got := Parse(controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMPING, bad...)); got != (Arrival{TTL: 255}) {
			t.Errorf("Parse of times %x = %+v, want nothing", bad, got)
		}
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add(join(controlMessage(unix.IPPROTO_IP, unix.IP_RECVERR, extendedError(42, unix.SO_EE_ORIGIN_TIMESTAMPING, 0, 1)...),
		controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMPING, join(timespec(1, 2), timespec(0, 0), timespec(3, 4))...)))
	f.Add(controlMessage(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1, 2, 3))
	f.Fuzz(func(t *testing.T, oob []byte) {
		r, ok := ParseReport(oob)
		if r.Card < 0 || r.ID != 0 && !ok {
			t.Fatalf("ParseReport(%x) = %+v, %t", oob, r, ok)
		}
		if r2, ok2 := ParseReport(join(controlMessage(99, 99), oob)); r2 != r || ok2 != ok {
			t.Fatalf("ParseReport(%x) = %+v, but %+v behind another message", oob, r, r2)
		}
	})
}

func TestRequest(t *testing.T) {
	class := controlMessage(unix.IPPROTO_IP, unix.IP_TOS, native32(46<<2)...)
	ask := controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMPING, native32(unix.SOF_TIMESTAMPING_TX_SOFTWARE)...)
	card := controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMPING, native32(unix.SOF_TIMESTAMPING_TX_SOFTWARE|unix.SOF_TIMESTAMPING_TX_HARDWARE)...)
	number := func(id uint32) []byte { return controlMessage(unix.SOL_SOCKET, unix.SCM_TS_OPT_ID, native32(id)...) }
	own, counted := NewRequest(true, len(class)), NewRequest(false, len(class))
	for _, tc := range []struct {
		name      string
		got, want []byte
	}{
		{"own number", append([]byte(nil), own.Control(7, false, class)...), join(number(7), ask, class)},
		{"another, of the card", append([]byte(nil), own.Control(8, true, nil)...), join(number(8), card)},
		{"counted", append([]byte(nil), counted.Control(7, false, class)...), join(ask, class)},
	} {
		if string(tc.got) != string(tc.want) {
			t.Errorf("%s: %x, want %x", tc.name, tc.got, tc.want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { own.Control(9, true, class) }); n != 0 {
		t.Errorf("%v allocations a request, want none", n)
	}
}

// reporting returns a socket that is its own peer.
func reporting(t *testing.T) *Source {
	t.Helper()
	s := &Source{socket: -1}
	if err := s.open(); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// The kernel reports what was asked for, under the number that it was to have.
func TestReports(t *testing.T) {
	for _, own := range []bool{true, false} {
		s := reporting(t)
		if d := s.tryDepartures(); d.Err != nil || own && !d.OwnIDs {
			t.Skipf("SKIPPED: the kernel reports no departures, or not by own numbers: %+v", d)
		}
		if err := RestartIDs(s.socket, false); err != nil {
			t.Fatal(err)
		}
		request := NewRequest(own, 0)
		ids := []uint32{0, 1, 2}
		if own {
			ids = []uint32{1 << 31, 7, 7}
		}
		for _, id := range ids {
			if _, err := unix.Write(s.socket, []byte{1}); err != nil { // one that nobody asks about
				t.Fatal(err)
			}
			if err := unix.Sendmsg(s.socket, []byte{2}, request.Control(id, false, nil), nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		var control [ReportSize]byte
		last := owamp.Timestamp(0)
		for _, id := range ids {
			r, ok, errno := ReadReport(s.socket, control[:])
			if errno != 0 || !ok || r.ID != id || r.Time == 0 || last != 0 && !r.Time.After(last) {
				t.Errorf("own numbers %t: report %+v, %t, %v, want number %d", own, r, ok, errno, id)
			}
			last = r.Time
		}
		if r, _, errno := ReadReport(s.socket, control[:]); errno != unix.EAGAIN {
			t.Errorf("one report more: %+v, %v", r, errno)
		}
		if n := testing.AllocsPerRun(100, func() { ReadReport(s.socket, control[:]) }); n != 0 {
			t.Errorf("%v allocations a report, want none", n)
		}
	}
}

// What arrives at a socket that has reports enabled is no longer for it, where
// the kernel can tell them from each other.
func TestReportsAndArrivals(t *testing.T) {
	s := reporting(t)
	if d := s.tryDepartures(); d.Err != nil {
		t.Skipf("SKIPPED: the kernel reports no departures: %v", d.Err)
	}
	if _, err := unix.Write(s.socket, binary.NativeEndian.AppendUint64(nil, 1)); err != nil {
		t.Fatal(err)
	}
	var b [16]byte
	var control [ControlSize]byte
	_, n, flags, _, err := unix.Recvmsg(s.socket, b[:], control[:], 0)
	if err != nil {
		t.Fatal(err)
	}
	if a := Parse(control[:n]); a.Time == 0 || a.Card != 0 || a.TTL == 255 || !a.HasDSCP || flags&unix.MSG_CTRUNC != 0 {
		t.Errorf("arrival %+v with flags %#x, want a stamp of the kernel, TTL and DSCP", a, flags)
	}
}
