package capture

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/net/bpf"
)

// passes runs a filter on a frame, as the kernel would.
func passes(t *testing.T, filter []bpf.RawInstruction, f *Frame) bool {
	t.Helper()
	program, ok := bpf.Disassemble(filter)
	if !ok {
		t.Fatal("not all of the program can be read")
	}
	// What only the kernel knows.
	for i, instruction := range program {
		if load, is := instruction.(bpf.LoadExtension); is {
			value := uint32(f.Direction)
			if load.Num == bpf.ExtProto {
				value = uint32(f.Type)
			}
			program[i] = bpf.LoadConstant{Dst: bpf.RegA, Val: value}
		}
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(f.Data)
	if err != nil {
		t.Fatal(err)
	}
	return n != 0
}

func mustFilter(t *testing.T, numbers []uint16, outgoing bool) []bpf.RawInstruction {
	t.Helper()
	filter, err := Filter(numbers, outgoing)
	if err != nil {
		t.Fatal(err)
	}
	if len(filter) > 4096 {
		t.Fatalf("%d instructions for %d ports, the kernel takes 4096", len(filter), len(numbers))
	}
	return filter
}

func TestFilter(t *testing.T) {
	payload := gopacket.Payload("payload!")
	v4 := serialize(t, ip4(), datagram(ip4()), payload) // from 5000 to 8760
	v4options := serialize(t, ip4(layers.IPv4Option{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}), datagram(ip4()), payload)
	v6 := serialize(t, ip6(layers.IPProtocolUDP), datagram(ip6(layers.IPProtocolUDP)), payload)
	parts := cut4(v4, 1, 8)
	extended := serialize(t, ip6(layers.IPProtocolIPv6HopByHop), header(layers.IPProtocolUDP, 0), udp6(t, "extended"))
	_, vlan := tag(typeVLAN, 5, typeIPv4)
	for _, tc := range []struct {
		name  string
		ports []uint16
		frame Frame
		in    bool // by a filter of what comes
		both  bool // by one of what comes and goes
	}{
		{"no ports", nil, Frame{Type: typeIPv4, Data: v4}, false, false},
		{"its port", []uint16{8760}, Frame{Type: typeIPv4, Data: v4}, true, true},
		{"its source's port", []uint16{5000}, Frame{Type: typeIPv4, Data: v4}, false, false},
		{"behind options", []uint16{8760}, Frame{Type: typeIPv4, Data: v4options}, true, true},
		{"behind options, another", []uint16{8761}, Frame{Type: typeIPv4, Data: v4options}, false, false},
		{"IPv6", []uint16{8760}, Frame{Type: typeIPv6, Data: v6}, true, true},
		{"IPv6, another", []uint16{8759, 8761}, Frame{Type: typeIPv6, Data: v6}, false, false},
		{"IPv6 with headers", []uint16{1}, Frame{Type: typeIPv6, Data: extended}, true, true},
		{"TCP", []uint16{8760}, Frame{Type: typeIPv6, Data: changed(v6, 6, 6)}, false, false},
		{"TCP of IPv4", []uint16{8760}, Frame{Type: typeIPv4, Data: changed(v4, 9, 6)}, false, false},
		{"the first fragment", []uint16{8760}, Frame{Type: typeIPv4, Data: parts[0]}, true, true},
		{"the first fragment of another", []uint16{8761}, Frame{Type: typeIPv4, Data: parts[0]}, false, false},
		{"another fragment", []uint16{1}, Frame{Type: typeIPv4, Data: parts[1]}, true, true},
		{"a second tag", []uint16{1}, Frame{Type: typeVLAN, Data: append(vlan, v4...)}, true, true},
		{"ARP", []uint16{8760}, Frame{Type: 0x0806, Data: v4}, false, false},
		{"to another host", []uint16{8760}, Frame{Type: typeIPv4, Data: v4, Direction: 3}, false, false},
		{"sent to its port", []uint16{8760}, Frame{Type: typeIPv4, Data: v4, Direction: Sent}, false, false},
		{"sent from its port", []uint16{5000}, Frame{Type: typeIPv4, Data: v4, Direction: Sent}, false, true},
		{"sent from its port, IPv6", []uint16{5000}, Frame{Type: typeIPv6, Data: v6, Direction: Sent}, false, true},
		{"cut off", []uint16{8760}, Frame{Type: typeIPv4, Data: v4[:21]}, false, false},
		{"nothing", []uint16{8760}, Frame{Type: typeIPv6}, false, false},
	} {
		if got := passes(t, mustFilter(t, tc.ports, false), &tc.frame); got != tc.in {
			t.Errorf("%s: passes %v, want %v", tc.name, got, tc.in)
		}
		if got := passes(t, mustFilter(t, tc.ports, true), &tc.frame); got != tc.both {
			t.Errorf("%s: passes %v of a filter for both directions, want %v", tc.name, got, tc.both)
		}
	}
}

// A filter passes each of its ports; and no other, unless the ports are in more
// ranges than it tells apart.
func TestFilterPorts(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	for round := range 30 {
		numbers := make([]uint16, 1+random.IntN(1<<(round%12)))
		spread := 1 << (4 + random.IntN(13))
		for i := range numbers {
			numbers[i] = uint16(random.IntN(spread))
		}
		slices.Sort(numbers)
		numbers = slices.Compact(numbers)
		filter := mustFilter(t, numbers, round%2 == 0)
		exact := len(apart(numbers)) <= maxRanges
		packet := serialize(t, ip4(), datagram(ip4()), gopacket.Payload("x"))
		f := Frame{Type: typeIPv4, Data: packet}
		for range 300 {
			port := uint16(random.IntN(spread))
			if random.IntN(2) == 0 {
				port = numbers[random.IntN(len(numbers))] + uint16(random.IntN(3)) - 1
			}
			packet[22], packet[23] = byte(port>>8), byte(port)
			_, wanted := slices.BinarySearch(numbers, port)
			if got := passes(t, filter, &f); got != wanted && (exact || wanted) {
				t.Fatalf("port %d of %v: passes %v", port, numbers, got)
			}
		}
	}
}

// apart returns the ranges of consecutive numbers.
func apart(numbers []uint16) (ranges [][]uint16) {
	for i, n := range numbers {
		if i == 0 || n != numbers[i-1]+1 {
			ranges = append(ranges, nil)
		}
		ranges[len(ranges)-1] = append(ranges[len(ranges)-1], n)
	}
	return ranges
}

// The kernel takes the longest program there is.
func TestFilterOfAllPorts(t *testing.T) {
	var numbers []uint16
	for n := 0; n < 1<<16; n += 2 {
		numbers = append(numbers, uint16(n))
	}
	r := openRing(t, loopback(t), true, numbers...)
	if err := r.SetFilter(mustFilter(t, numbers[:maxRanges], true)); err != nil {
		t.Error(err)
	}
}
