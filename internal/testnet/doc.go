// Package testnet gives tests a network whose delay, loss, duplication,
// reordering and hop count are known because the test has set them: the truth
// that a measurement is held against.
//
// A network is two hosts, each a Linux network namespace of its own with one
// IPv4 and one IPv6 address. [New] joins them by a veth pair, the kernel's own
// path, clean and fast. [NewWire] joins them by a [Wire]: every packet passes
// through this process, which treats it as a [Path] says and counts what it has
// done. A Wire needs nothing of the kernel but TUN devices.
//
// The namespaces have no name: they are gone when the test ends, however it
// ends. Making them takes root (CAP_NET_ADMIN and CAP_SYS_ADMIN) and iproute2;
// without these the test is skipped with the reason. Outside Linux there are no
// hosts at all, so that tests which use them stand in files called
// _linux_test.go.
package testnet
