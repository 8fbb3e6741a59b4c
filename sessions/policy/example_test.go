package policy_test

import (
	"fmt"
	"log"
	"net/netip"
	"strings"

	"owl/sessions/policy"
)

func Example() {
	limits, err := policy.Parse("owamp-server.limits", strings.NewReader(`
limit root with disk=0, bandwidth=0
limit guests with parent=root, \
	bandwidth=50k, disk=10m, test_sessions=2
assign default guests
assign net 192.0.2.0/24 root
`))
	if err != nil {
		log.Fatal(err)
	}
	ledger := policy.NewLedger(limits)

	// Someone connects, and asks for two sessions of 33.6 kbit/s.
	account := ledger.Account(policy.Peer{Addr: netip.MustParseAddr("198.51.100.7")})
	fmt.Println("class:", account.Class().Path())
	request := policy.Request{Bandwidth: 33_600, Disk: 2700, Sessions: 1}
	session, err := account.Reserve(request)
	if err != nil {
		log.Fatal(err)
	}
	_, err = account.Reserve(request)
	fmt.Println(err)

	// The session ends; its file stays, and is 2,725 octets because of a
	// duplicate.
	if err := session.AdjustDisk(2725, 1); err != nil {
		log.Fatal(err)
	}
	file := session.Keep()
	session.Release()
	fmt.Printf("%+v\n", ledger.Used(account.Class()))
	file.Release()
	fmt.Printf("%+v\n", ledger.Used(account.Class()))
	// Output:
	// class: root/guests
	// ResReq DENIED: guests:request:bandwidth = 33600 (result = 33600, limit = 50000)
	// {Bandwidth:0 Disk:2725 PacketRate:0 Sessions:0}
	// {Bandwidth:0 Disk:0 PacketRate:0 Sessions:0}
}

func ExampleLimits_String() {
	limits, err := policy.Parse("owamp-server.limits", strings.NewReader("limit root with disk=5G"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(limits)
	// Output:
	// limit root with \
	// 	bandwidth=0, disk=5g, test_sessions=0, packet_rate=0, \
	// 	allow_open_mode=on, delete_on_fetch=off, fetch=creator, third_party=off, \
	// 	connection_rate=0, request_rate=0
}
