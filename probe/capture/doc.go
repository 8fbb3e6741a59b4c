// Package capture takes test packets from Linux packet sockets, below the
// sockets of UDP.
//
// A [Ring] is memory that the kernel shares with the process: packets of an
// interface arrive in it with the kernel's time stamp, without a system call a
// packet. What arrives is chosen by a [Filter]. A [Packet] reads what a frame of
// the ring holds, and an [Assembler] puts fragments together. A [Dump] writes
// packets to a file that Wireshark reads.
//
// # What a packet socket passes by
//
// A packet is in the ring before the host looks at it, so the ring also has what
// the host would throw away: this package checks lengths, the header checksum of
// IPv4 and the checksum of UDP, and that the frame was sent to this host. It does
// not ask the firewall, translates no addresses, and checks no routes, so that
// the source of a packet is what the packet says. Options in headers of IPv4 and
// IPv6 are not obeyed.
//
// # Frames
//
// The sockets are of type SOCK_DGRAM: frames begin with the header of the network
// layer whatever the link is, Ethernet, loopback, a tunnel or PPP, and the kernel
// tells separately what the link's header has said. A VLAN tag is told separately
// as well, unless it is a second one; tags are looked through.
//
// # Privilege
//
// To open a packet socket takes CAP_NET_RAW in the network namespace.
package capture
