// Package netlab gives tests a network whose truth is known, because the test
// has made it and each packet's fate is on record: what a measurement says is
// held against that.
//
// A network is two hosts, each a Linux network namespace of its own with one
// IPv4 and one IPv6 address. [NewVeth] joins them by a veth pair, the kernel's
// own path, clean and fast. [NewWire] joins them by a [Wire]: every packet passes
// through this process, which does to it what a script of [Step]s says for its
// direction, and logs an [Entry] about it: when it came in and went out, which
// packet it was, and what became of it. A Wire needs nothing of the kernel but
// TUN devices and packet sockets.
//
// # Chance
//
// What chance decides depends on the wire's seed, the direction, and on how many
// UDP packets have entered in that direction before: with the same seed the
// hundredth UDP packet is lost, or is not, in every run. Control connections,
// whose packets no run repeats, cast no dice for others.
//
// # Time
//
// All stamps are of this host's clock, which both ends and the wire share. A
// packet's In is the kernel's stamp of the moment at which it was handed to the
// sender's device, within the system call of the sender. Out and Done enclose the
// system call by which the wire hands it to the receiver's device, within which
// the kernel stamps it for the receiver. So a packet that was received had a
// delay between Out-In and Done-In, to which comes what lies before In alone: the
// sender's way from its own stamp into the kernel. How long this process took to
// wake up is part of the delay, as it is part of the truth; it is no part of the
// uncertainty.
//
// # Namespaces
//
// The namespaces have no name: they are gone when the test ends, however it
// ends. Making them takes root (CAP_NET_ADMIN and CAP_SYS_ADMIN) and iproute2;
// without these the test is skipped with the reason. Outside Linux there are no
// hosts at all, so that tests which use them stand in files called
// _linux_test.go.
package netlab
