package stamp

import (
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"owl/owamp"
)

// message builds one control message, padded to the next.
func controlMessage(level, kind int32, data ...byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	if word == 8 {
		binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(len(data))))
	} else {
		binary.NativeEndian.PutUint32(b, uint32(unix.CmsgLen(len(data))))
	}
	binary.NativeEndian.PutUint32(b[word:], uint32(level))
	binary.NativeEndian.PutUint32(b[word+4:], uint32(kind))
	copy(b[headerSize:], data)
	return b
}

func native32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

func timespec(sec, nsec int64) []byte {
	b := binary.NativeEndian.AppendUint64(nil, uint64(sec))
	return binary.NativeEndian.AppendUint64(b, uint64(nsec))
}

func join(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func TestParse(t *testing.T) {
	stamp := controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, timespec(1700000000, 999999999)...)
	at := owamp.FromUnix(1700000000, 999999999)
	short := append([]byte(nil), stamp...)
	short[0] = headerSize - 1
	long := append([]byte(nil), stamp...)
	long[0] = byte(len(stamp) + 1)
	for _, tc := range []struct {
		name string
		oob  []byte
		want Arrival
	}{
		{"nothing", nil, Arrival{TTL: 255}},
		{"IPv4", join(stamp, controlMessage(unix.IPPROTO_IP, unix.IP_TTL, native32(63)...), controlMessage(unix.IPPROTO_IP, unix.IP_TOS, 46<<2|1)),
			Arrival{Time: at, TTL: 63, DSCP: 46, HasDSCP: true}},
		{"IPv6", join(controlMessage(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, native32(0)...), controlMessage(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, native32(8<<2)...), stamp),
			Arrival{Time: at, TTL: 0, DSCP: 8, HasDSCP: true}},
		{"drops", join(controlMessage(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, native32(1<<32-1)...), controlMessage(unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1, 2)),
			Arrival{TTL: 255, Drops: 1<<32 - 1}},
		{"32-bit timespec", controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, join(native32(5), native32(6))...),
			Arrival{Time: owamp.FromUnix(5, 6), TTL: 255}},
		{"other level, same type", controlMessage(unix.IPPROTO_IP, unix.SO_TIMESTAMPNS, timespec(1, 0)...), Arrival{TTL: 255}},
		{"wrong lengths", join(controlMessage(unix.IPPROTO_IP, unix.IP_TTL, 9), controlMessage(unix.IPPROTO_IP, unix.IP_TOS, native32(4)...),
			controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1, 2, 3)), Arrival{TTL: 255}},
		{"nanoseconds out of range", controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, timespec(1, 1e9)...), Arrival{TTL: 255}},
		{"length below the header's", short, Arrival{TTL: 255}},
		{"length beyond the end", long, Arrival{TTL: 255}},
		{"unknown before known", join(controlMessage(99, 99, 1, 2, 3, 4, 5), stamp), Arrival{Time: at, TTL: 255}},
	} {
		if got := Parse(tc.oob); got != tc.want {
			t.Errorf("%s: Parse = %+v, want %+v", tc.name, got, tc.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, timespec(1700000000, 1)...))
	f.Add(controlMessage(unix.IPPROTO_IP, unix.IP_TOS, 4))
	f.Add(controlMessage(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, native32(64)...))
	f.Add(make([]byte, ControlSize))
	f.Fuzz(func(t *testing.T, oob []byte) {
		a := Parse(oob)
		if a.DSCP > 0x3f || a.DSCP != 0 && !a.HasDSCP {
			t.Fatalf("Parse(%x) = %+v, an impossible DSCP", oob, a)
		}
		// What stands behind a whole message is read by itself.
		if b := Parse(join(controlMessage(99, 99), oob)); b != a {
			t.Fatalf("Parse(%x) = %+v, but %+v behind another message", oob, a, b)
		}
	})
}

func TestParseAllocations(t *testing.T) {
	oob := controlMessage(unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, timespec(1, 2)...)
	if n := testing.AllocsPerRun(100, func() { Parse(oob) }); n != 0 {
		t.Errorf("%v allocations a packet, want none", n)
	}
}

func TestOpen(t *testing.T) {
	s := Open()
	defer s.Close()
	if s.Err != nil {
		t.Skipf("SKIPPED: this kernel gives no true stamps: %v", s.Err)
	}
	if s.Precision <= 0 || s.Precision > s.Wake+time.Second || s.Wake <= 0 {
		t.Errorf("precision %v, wake %v: want both positive", s.Precision, s.Wake)
	}
	t.Logf("precision %v, wake %v", s.Precision, s.Wake)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}
