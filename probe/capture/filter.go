package capture

import (
	"fmt"
	"slices"

	"golang.org/x/net/bpf"
)

const (
	// maxRanges is how many ranges of ports a filter tells apart. Where there
	// are more, those closest to each other count as one: the filter passes too
	// much then, never too little. The kernel would take more, but the longer
	// the program, the longer it needs to load it with each port that comes or
	// goes.
	maxRanges = 64
	// wholeFrame is more octets than any frame has.
	wholeFrame = 1 << 18
)

// ports are a range of them, both ends inclusive.
type ports struct{ low, high uint16 }

// Filter returns the program by which the kernel chooses frames for a [Ring]:
// datagrams of UDP to one of the given ports, which are ascending, that were sent
// to this host and, if outgoing, those from one of these ports that it sends.
//
// What takes more than a look at the packet's first headers, a program of this
// kind cannot decide. So it passes later fragments, which have no ports, packets
// of IPv6 with extension headers, and what has a second VLAN tag, whatever is
// inside.
func Filter(numbers []uint16, outgoing bool) ([]bpf.RawInstruction, error) {
	ranges := joined(numbers)
	received := look(ranges, 2)
	program := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(Received), SkipTrue: 1},
	}
	if outgoing {
		sent := look(ranges, 0)
		program = append(program,
			bpf.Jump{Skip: uint32(len(sent)) + 2},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(Sent), SkipTrue: 1},
			bpf.RetConstant{})
		program = append(program, sent...)
	} else {
		program = append(program, bpf.Jump{Skip: 1}, bpf.RetConstant{})
	}
	raw, err := bpf.Assemble(append(program, received...))
	if err != nil {
		return nil, fmt.Errorf("filter of %d ports: %w", len(numbers), err)
	}
	return raw, nil
}

// joined returns the ranges that numbers make up.
func joined(numbers []uint16) []ports {
	var ranges []ports
	for _, n := range numbers {
		if last := len(ranges) - 1; last >= 0 && int(n) <= int(ranges[last].high)+1 {
			ranges[last].high = n
		} else {
			ranges = append(ranges, ports{n, n})
		}
	}
	if len(ranges) <= maxRanges {
		return ranges
	}
	// The narrowest gaps between two ranges go.
	gaps := make([]int, len(ranges)-1)
	for i := range gaps {
		gaps[i] = int(ranges[i+1].low) - int(ranges[i].high)
	}
	sorted := slices.Sorted(slices.Values(gaps))
	excess := len(ranges) - maxRanges
	narrow := sorted[excess-1]
	out := ranges[:1]
	for i, r := range ranges[1:] {
		if gaps[i] <= narrow && excess > 0 {
			excess--
			out[len(out)-1].high = r.high
		} else {
			out = append(out, r)
		}
	}
	return out
}

// look is the program that decides by the port at the given place of the header
// of UDP.
func look(ranges []ports, port uint32) []bpf.Instruction {
	pass := bpf.RetConstant{Val: wholeFrame}
	ports := choose(ranges)
	ipv6 := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolUDP, SkipTrue: 6},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: hopByHop, SkipTrue: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: routing, SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: fragmented, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: destination, SkipTrue: 1},
		bpf.RetConstant{},
		pass,
		bpf.LoadAbsolute{Off: ipv6Header + port, Size: 2},
	}
	ipv4 := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: protocolUDP, SkipTrue: 1},
		bpf.RetConstant{},
		bpf.LoadAbsolute{Off: 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: 0x1fff, SkipTrue: 1},
		pass,
		bpf.LoadMemShift{Off: 0}, // X is the length of the header
		bpf.LoadIndirect{Off: port, Size: 2},
		bpf.Jump{Skip: uint32(len(ipv6))},
	}
	program := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtProto},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeIPv4, SkipTrue: 6},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeIPv6, SkipTrue: uint8(5 + len(ipv4))},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeVLAN, SkipTrue: 3},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeService, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeQinQ, SkipTrue: 1},
		bpf.RetConstant{},
		pass,
	}
	return slices.Concat(program, ipv4, ipv6, ports)
}

// choose is the program that passes what has one of the given ports in its
// accumulator: a search by halves.
func choose(ranges []ports) []bpf.Instruction {
	switch n := len(ranges); n {
	case 0:
		return []bpf.Instruction{bpf.RetConstant{}}
	case 1:
		return []bpf.Instruction{
			bpf.JumpIf{Cond: bpf.JumpLessThan, Val: uint32(ranges[0].low), SkipTrue: 2},
			bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: uint32(ranges[0].high), SkipTrue: 1},
			bpf.RetConstant{Val: wholeFrame},
			bpf.RetConstant{},
		}
	default:
		low, high := choose(ranges[:n/2]), choose(ranges[n/2:])
		return slices.Concat([]bpf.Instruction{
			bpf.JumpIf{Cond: bpf.JumpLessThan, Val: uint32(ranges[n/2].low), SkipFalse: 1},
			bpf.Jump{Skip: uint32(len(high))},
		}, high, low)
	}
}
