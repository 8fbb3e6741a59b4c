package owamp

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// A sentMessage is one of a recorded conversation; testdata/control/README.md
// tells where they come from.
type sentMessage struct {
	fromServer bool
	name       string
	octets     []byte
}

// conversation reads a recorded one.
func conversation(tb testing.TB, name string) []sentMessage {
	tb.Helper()
	text, err := os.ReadFile("testdata/control/" + name + ".txt")
	if err != nil {
		tb.Fatal(err)
	}
	var messages []sentMessage
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		octets, err := hex.DecodeString(fields[2])
		if err != nil {
			tb.Fatal(err)
		}
		messages = append(messages, sentMessage{fields[0] == "S", fields[1], octets})
	}
	return messages
}

// octetsOf decodes hexadecimal text in which blanks do not count.
func octetsOf(text string) []byte {
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		panic(err)
	}
	return b
}

func sid(text string) SID { return SID(octetsOf(text)) }

// request is a Request-Session with its slots, as one value to compare.
type request struct {
	SessionSpec
	Slots []Slot
}

// decodeRequest reads the fixed part and as many slots as it says.
func decodeRequest(b []byte) (request, []byte, error) {
	spec, n, err := ParseRequest((*[RequestSize]byte)(b))
	if err != nil {
		return request{}, nil, err
	}
	b = b[RequestSize:]
	for range min(int(n), len(b)/SlotSize) {
		slot, err := ParseSlot((*[SlotSize]byte)(b))
		if err != nil {
			return request{}, nil, err
		}
		spec.Slots = append(spec.Slots, slot)
		b = b[SlotSize:]
	}
	return request{spec, spec.Slots}, b, nil
}

// decode reads a whole message of any kind and encodes what it has read.
func decode(name string, known map[SID]uint32, b []byte) (message any, again []byte, err error) {
	switch name {
	case "Server-Greeting":
		m := ParseServerGreeting((*[ServerGreetingSize]byte)(b))
		return m, m.Append(nil), nil
	case "Set-Up-Response":
		m := ParseSetUpResponse((*[SetUpResponseSize]byte)(b))
		return m, m.Append(nil), nil
	case "Server-Start":
		m, err := ParseServerStart((*[ServerStartSize]byte)(b))
		return m, m.Append(nil), err
	case "Request-Session":
		m, _, err := decodeRequest(b)
		again := AppendSlots(m.AppendRequest(nil), m.Slots)
		return m, appendZeros(again, BlockSize), err
	case "Accept-Session":
		m, err := ParseAcceptSession((*[AcceptSessionSize]byte)(b))
		return m, m.Append(nil), err
	case "Start-Sessions":
		m, err := ParseStartSessions((*[StartSessionsSize]byte)(b))
		return m, m.Append(nil), err
	case "Start-Ack":
		m, err := ParseStartAck((*[StartAckSize]byte)(b))
		return m, m.Append(nil), err
	case "Stop-Sessions":
		m, err := ReadStopSessions((*[BlockSize]byte)(b), bytes.NewReader(b[BlockSize:]), known, 1000)
		return m, m.Append(nil), err
	case "Fetch-Session":
		m, err := ParseFetchSession((*[FetchSessionSize]byte)(b))
		return m, m.Append(nil), err
	case "Fetch-Ack":
		m, err := ParseFetchAck((*[FetchAckSize]byte)(b))
		return m, m.Append(nil), err
	}
	panic("no message " + name)
}

// The open-mode conversations of the reference, decoded to what they mean and
// encoded to the octets that they were.
func TestRecordedMessages(t *testing.T) {
	exponential := []Slot{{SlotExponential, 0x0ccccccc}}
	short := []Slot{{SlotExponential, 0x051eb851}}
	tests := map[string][]any{
		"open-clean": {
			ServerGreeting{
				Modes:     ModeOpen | ModeAuthenticated | ModeEncrypted,
				Challenge: sid("011a8bd088234492bf0105e5f2b09be7"),
				Salt:      sid("71ac830afc7d73f354f4aa0ffe490076"),
				Count:     2048,
			},
			SetUpResponse{Mode: ModeOpen},
			ServerStart{Start: 0xeeaba5aa7e934aca},
			request{SessionSpec{
				ConfReceiver: true,
				Slots:        exponential,
				Packets:      20,
				Sender:       netip.MustParseAddrPort("10.98.0.1:9906"),
				Receiver:     netip.MustParseAddrPort("10.98.0.2:0"),
				Start:        0xeeaba5f0877fe088,
				Timeout:      2 << 32,
			}, exponential},
			Accepted{Port: 18982, SID: sid("0a620002eeaba5ef91118c1997e743f8")},
			request{SessionSpec{
				ConfSender: true,
				Slots:      exponential,
				Packets:    20,
				Sender:     netip.MustParseAddrPort("10.98.0.2:0"),
				Receiver:   netip.MustParseAddrPort("10.98.0.1:9488"),
				SID:        sid("0a620001eeaba5ef9214bdfd6fa69e0f"),
				Start:      0xeeaba5f0877fe088,
				Timeout:    2 << 32,
			}, exponential},
			Accepted{Port: 18932, SID: sid("0a620001eeaba5ef9214bdfd6fa69e0f")},
			StartSessions{},
			StartAck{},
			StopSessions{Reports: []SendReport{{SID: sid("0a620002eeaba5ef91118c1997e743f8"), NextSeq: 20}}},
			StopSessions{Reports: []SendReport{{SID: sid("0a620001eeaba5ef9214bdfd6fa69e0f"), NextSeq: 20}}},
			FetchSession{End: 0xffffffff, SID: sid("0a620002eeaba5ef91118c1997e743f8")},
			FetchAck{Finished: 1, NextSeq: 20, Records: 20},
		},
		"ipv6-mixed": {
			ServerGreeting{
				Modes:     ModeOpen | ModeAuthenticated | ModeEncrypted,
				Challenge: sid("512eeb5ff39eeb5e1439a3c7b6d22cd4"),
				Salt:      sid("74a981250814356e2acdc7e4b19cd1b5"),
				Count:     2048,
			},
			SetUpResponse{Mode: ModeOpen},
			ServerStart{Start: 0xeeaba5ec937ee4e2},
			request{SessionSpec{
				ConfReceiver: true,
				Slots:        short,
				Packets:      60,
				Sender:       netip.MustParseAddrPort("[fd98::1]:9609"),
				Receiver:     netip.MustParseAddrPort("[fd98::2]:0"),
				Padding:      40,
				Start:        0xeeaba6088b2ba9d2,
				Timeout:      2 << 32,
			}, short},
			Accepted{Port: 19296, SID: sid("00000002eeaba60793ba01eeff1dd0f4")},
			request{SessionSpec{
				ConfSender: true,
				Slots:      short,
				Packets:    60,
				Sender:     netip.MustParseAddrPort("[fd98::2]:0"),
				Receiver:   netip.MustParseAddrPort("[fd98::1]:8818"),
				SID:        sid("00000001eeaba60794fa69be4f2bd747"),
				Padding:    40,
				Start:      0xeeaba6088b2ba9d2,
				Timeout:    2 << 32,
			}, short},
			Accepted{Port: 19292, SID: sid("00000001eeaba60794fa69be4f2bd747")},
			StartSessions{},
			StartAck{},
			StopSessions{Reports: []SendReport{{SID: sid("00000002eeaba60793ba01eeff1dd0f4"), NextSeq: 60}}},
			StopSessions{Reports: []SendReport{{SID: sid("00000001eeaba60794fa69be4f2bd747"), NextSeq: 60}}},
			FetchSession{End: 0xffffffff, SID: sid("00000002eeaba60793ba01eeff1dd0f4")},
			FetchAck{Finished: 1, NextSeq: 60, Records: 65},
		},
	}
	for name, want := range tests {
		known := make(map[SID]uint32)
		recorded := conversation(t, name)
		if len(recorded) != len(want) {
			t.Fatalf("%s: %d messages, want %d", name, len(recorded), len(want))
		}
		for i, sent := range recorded {
			if a, ok := want[i].(Accepted); ok {
				known[a.SID] = 60
			}
			got, again, err := decode(sent.name, known, sent.octets)
			if err != nil {
				t.Errorf("%s: %s: %v", name, sent.name, err)
			}
			if diff := cmp.Diff(want[i], got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Errorf("%s: %s (-want +got):\n%s", name, sent.name, diff)
			}
			if !bytes.Equal(again, sent.octets) {
				t.Errorf("%s: %s encoded again:\n%x, want\n%x", name, sent.name, again, sent.octets)
			}
		}
	}
}

// What the other modes send in clear passes through unharmed.
func TestRecordedKeyedSetUp(t *testing.T) {
	for name, mode := range map[string]Mode{"auth-clean": ModeAuthenticated, "enc-clean": ModeEncrypted} {
		for _, sent := range conversation(t, name) {
			got, again, _ := decode(sent.name, nil, sent.octets)
			if !bytes.Equal(again, sent.octets) {
				t.Errorf("%s: %s encoded again:\n%x, want\n%x", name, sent.name, again, sent.octets)
			}
			r, ok := got.(SetUpResponse)
			if !ok {
				continue
			}
			if user, _, _ := strings.Cut(string(r.KeyID[:]), "\x00"); r.Mode != mode || user != "alice" {
				t.Errorf("%s: mode %v of %q, want %v of alice", name, r.Mode, user, mode)
			}
			if r.Token == [64]byte{} || r.IV == [16]byte{} {
				t.Errorf("%s: token %x, IV %x: want neither zero", name, r.Token, r.IV)
			}
		}
	}
}

func TestMessageRefused(t *testing.T) {
	zeros := func(n int, at map[int]byte) []byte {
		b := make([]byte, n)
		for i, v := range at {
			b[i] = v
		}
		return b
	}
	tests := []struct {
		message string
		octets  []byte
		want    string
	}{
		{"Server-Start", zeros(48, map[int]byte{15: 6}), "accept code 6, want 0 to 5"},
		{"Accept-Session", zeros(48, map[int]byte{0: 255}), "accept code 255, want 0 to 5"},
		{"Start-Ack", zeros(32, map[int]byte{0: 77}), "accept code 77, want 0 to 5"},
		{"Fetch-Ack", zeros(32, map[int]byte{0: 6}), "accept code 6, want 0 to 5"},
		{"Stop-Sessions", zeros(32, map[int]byte{0: 3, 1: 6}), "accept code 6, want 0 to 5"},
		{"Start-Sessions", zeros(32, map[int]byte{0: 3}), "first octet 3, want 2 for Start-Sessions"},
		{"Stop-Sessions", zeros(32, map[int]byte{0: 9}), "first octet 9, want 3 for Stop-Sessions"},
		{"Fetch-Session", zeros(48, nil), "first octet 0, want 4 for Fetch-Session"},
		{"Request-Session", zeros(128, map[int]byte{1: 4, 2: 1}), "first octet 0, want 1 for Request-Session"},
		{"Request-Session", zeros(128, map[int]byte{0: 1, 1: 5, 2: 1}), "IP version 5, want 4 or 6"},
		{"Request-Session", zeros(128, map[int]byte{0: 1, 1: 4}), "the server neither sends nor receives"},
		{"Request-Session", zeros(144, map[int]byte{0: 1, 1: 4, 3: 1, 7: 1, 112: 2}), "slot type 2, want 0 or 1"},
	}
	for _, test := range tests {
		if _, _, err := decode(test.message, nil, test.octets); err == nil || err.Error() != test.want {
			t.Errorf("%s %x: error %v, want %s", test.message, test.octets, err, test.want)
		}
	}
}

// A refusal tells nothing beside its code.
func TestRefusalIsBare(t *testing.T) {
	accepted := Accepted{Accept: AcceptTemporaryLimit, Port: 9000, SID: SID{1}}
	if want := append([]byte{5}, make([]byte, 47)...); !bytes.Equal(accepted.Append(nil), want) {
		t.Errorf("Accept-Session %x, want %x", accepted.Append(nil), want)
	}
	ack := FetchAck{Accept: AcceptReject, Finished: 1, NextSeq: 2, Skips: 3, Records: 4}
	if want := append([]byte{1}, make([]byte, 31)...); !bytes.Equal(ack.Append(nil), want) {
		t.Errorf("Fetch-Ack %x, want %x", ack.Append(nil), want)
	}
}

func TestCommandString(t *testing.T) {
	for c, want := range map[Command]string{
		0: "command 0", 1: "Request-Session", 2: "Start-Sessions", 3: "Stop-Sessions", 4: "Fetch-Session", 5: "command 5",
	} {
		if c.String() != want {
			t.Errorf("%d: %s, want %s", uint8(c), c, want)
		}
	}
}

// undetermined are the octets of a message that a parser does not look at.
func undetermined(name string, b []byte) {
	blank := func(from, to int) { clear(b[from:to]) }
	switch name {
	case "Server-Greeting":
		blank(0, 12)
		blank(52, 64)
	case "Server-Start":
		blank(0, 15)
		blank(40, 48)
	case "Accept-Session":
		blank(1, 2)
		blank(20, 48)
		if b[0] != 0 {
			blank(1, 48)
		}
	case "Start-Sessions", "Start-Ack":
		blank(1, 32)
	case "Fetch-Session":
		blank(1, 8)
		blank(32, 48)
	case "Fetch-Ack":
		blank(2, 4)
		blank(16, 32)
		if b[0] != 0 {
			blank(1, 32)
		}
	}
}

// Whatever a fixed-size parser takes is encoded to the same octets, those left
// out that it does not look at.
func FuzzMessage(f *testing.F) {
	sizes := []struct {
		name string
		size int
	}{
		{"Server-Greeting", ServerGreetingSize},
		{"Set-Up-Response", SetUpResponseSize},
		{"Server-Start", ServerStartSize},
		{"Accept-Session", AcceptSessionSize},
		{"Start-Sessions", StartSessionsSize},
		{"Start-Ack", StartAckSize},
		{"Fetch-Session", FetchSessionSize},
		{"Fetch-Ack", FetchAckSize},
	}
	for _, name := range []string{"open-clean", "auth-clean"} {
		for _, sent := range conversation(f, name) {
			for kind, s := range sizes {
				if s.name == sent.name {
					f.Add(uint8(kind), sent.octets)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		s := sizes[int(kind)%len(sizes)]
		if len(b) < s.size {
			return
		}
		b = bytes.Clone(b[:s.size])
		_, again, err := decode(s.name, nil, b)
		if err != nil {
			return
		}
		undetermined(s.name, b)
		if !bytes.Equal(again, b) {
			t.Errorf("%s %x\nis encoded as %x", s.name, b, again)
		}
	})
}

// What a Request-Session is decoded to is encoded to one that means the same.
func FuzzRequest(f *testing.F) {
	for _, name := range []string{"open-clean", "ipv6-mixed"} {
		for _, sent := range conversation(f, name) {
			if sent.name == "Request-Session" {
				f.Add(sent.octets)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < RequestSize {
			return
		}
		r, _, err := decodeRequest(b)
		if err != nil {
			return
		}
		octets := AppendSlots(r.AppendRequest(nil), r.Slots)
		again, rest, err := decodeRequest(octets)
		if err != nil || len(rest) != 0 {
			t.Fatalf("%x: decoded again: %v, %d octets left", octets, err, len(rest))
		}
		// IPv4 in IPv6 is sent as IPv4.
		for _, a := range []*netip.AddrPort{&r.Sender, &r.Receiver, &again.Sender, &again.Receiver} {
			*a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		}
		if diff := cmp.Diff(r, again, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("decoded again (-first +second):\n%s", diff)
		}
	})
}
