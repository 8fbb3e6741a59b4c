package policy

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func parse(t testing.TB, text string) *Limits {
	t.Helper()
	l, err := Parse("limits", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func parseFile(t testing.TB, name string) *Limits {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, string(b))
}

func class(t testing.TB, l *Limits, name string) *Class {
	t.Helper()
	c, ok := l.Lookup(name)
	if !ok {
		t.Fatalf("no class %q", name)
	}
	return c
}

func TestPackaged(t *testing.T) {
	const want = `limit root with \
	bandwidth=0, disk=0, test_sessions=0, packet_rate=0, \
	allow_open_mode=on, delete_on_fetch=on, fetch=creator, third_party=off, \
	connection_rate=0, request_rate=0
limit regular with parent=root, \
	bandwidth=20m, disk=10g, test_sessions=0, \
	allow_open_mode=on, delete_on_fetch=on, fetch=creator, third_party=off, \
	connection_rate=0, request_rate=0
assign default regular
`
	if diff := cmp.Diff(want, parseFile(t, "testdata/packaged.limits").String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWhole(t *testing.T) {
	const want = `limit Root with \
	bandwidth=900m, disk=2g, test_sessions=64, packet_rate=100k, \
	allow_open_mode=off, delete_on_fetch=off, fetch=creator, third_party=off, \
	connection_rate=0, request_rate=0
limit jail with parent=Root, \
	bandwidth=1, disk=1, test_sessions=64, \
	allow_open_mode=off, delete_on_fetch=off, fetch=creator, third_party=off, \
	connection_rate=0, request_rate=0
limit open with parent=Root, \
	bandwidth=10k, disk=10m, test_sessions=64, \
	allow_open_mode=on, delete_on_fetch=off, fetch=creator, third_party=on, \
	connection_rate=5, request_rate=20
limit friends with parent=open, \
	bandwidth=10k, disk=0, test_sessions=64, \
	allow_open_mode=on, delete_on_fetch=on, fetch=class, third_party=on, \
	connection_rate=5, request_rate=20
limit mirror-é with parent=friends, \
	bandwidth=10k, disk=0, test_sessions=64, \
	allow_open_mode=on, delete_on_fetch=on, fetch=any, third_party=on, \
	connection_rate=5, request_rate=20
assign default open
assign net 192.168.1.0/24 jail
assign net 192.168.0.0/16 friends
assign net 2001:db8::/32 friends
assign net 2001:db8::bad/128 jail
assign net 10.0.0.0/8 friends
assign user joe Root
assign user bob mirror-é
`
	l := parseFile(t, "testdata/whole.limits")
	if diff := cmp.Diff(want, l.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	mirror := class(t, l, "mirror-é")
	if got, want := mirror.Path(), "Root/open/friends/mirror-é"; got != want {
		t.Errorf("path %q, want %q", got, want)
	}
	if got := l.Root().PacketRate(); got != 100_000 {
		t.Errorf("packet rate of the root %d, want 100000", got)
	}
	if got := mirror.PacketRate(); got != 0 {
		t.Errorf("packet rate of a child %d, want 0", got)
	}
}

func TestUnlimited(t *testing.T) {
	for name, l := range map[string]*Limits{
		"no file":    Unlimited(),
		"empty file": parse(t, ""),
		"comments":   parse(t, "# nothing\n\n \t\n  # here"),
		"a \\":       parse(t, "\\\n\\"),
	} {
		c := l.Class(netip.MustParseAddr("192.0.2.1"), "joe")
		if c != l.Root() || c.Name() != "default" || c.Path() != "default" || c.Parent() != nil || len(l.Classes()) != 1 {
			t.Errorf("%s: class %q at %q, want the root, default", name, c.Name(), c.Path())
		}
		if !c.AllowOpen() || c.DeleteOnFetch() || c.ThirdParty() || c.Fetch() != FetchCreator {
			t.Errorf("%s: rights not the defaults:\n%v", name, l)
		}
		if c.Bandwidth()|c.Disk()|c.TestSessions()|c.PacketRate()|c.ConnectionRate()|c.RequestRate() != 0 {
			t.Errorf("%s: a limit:\n%v", name, l)
		}
	}
}

func TestClass(t *testing.T) {
	const text = `
limit root with
limit local with parent=root
limit lab with parent=local
limit bench with parent=lab
limit joe with parent=root
limit others with parent=root
assign net 10.0.0.0/8 local
assign net 10.1.0.0/16 lab
assign net 10.1.2.3 bench
assign net fd00::/8 lab
assign net ::fffe:0:0/95 bench
assign user ann lab
assign user joe lab
`
	tests := []struct {
		peer, user, want, wantWithDefault string
	}{
		{peer: "10.9.9.9", want: "local"},
		{peer: "10.1.9.9", want: "lab"},
		{peer: "10.1.2.3", want: "bench"},
		{peer: "::ffff:10.1.2.3", want: "bench"},
		{peer: "fd12::1", want: "lab"},
		{peer: "fd12::1%eth0", want: "lab"},
		{peer: "::fffe:1:2", want: "bench"},
		{peer: "11.0.0.1", want: "root", wantWithDefault: "others"},
		{peer: "2001:db8::1", want: "root", wantWithDefault: "others"},
		{peer: "", want: "root", wantWithDefault: "others"},
		{peer: "10.9.9.9", user: "ann", want: "lab"},
		{peer: "10.9.9.9", user: "joe", want: "joe"}, // its own name before what is assigned
		{peer: "10.9.9.9", user: "bob", want: "local"},
		{peer: "11.0.0.1", user: "bob", want: "root", wantWithDefault: "others"},
		{peer: "11.0.0.1", user: "root", want: "root"},
		{peer: "11.0.0.1", user: "Joe", want: "root", wantWithDefault: "others"},
	}
	without, with := parse(t, text), parse(t, text+"assign default others")
	for _, tt := range tests {
		var peer netip.Addr
		if tt.peer != "" {
			peer = netip.MustParseAddr(tt.peer)
		}
		if got := without.Class(peer, tt.user).Name(); got != tt.want {
			t.Errorf("user %q at %s: class %s, want %s", tt.user, tt.peer, got, tt.want)
		}
		want := tt.want
		if tt.wantWithDefault != "" {
			want = tt.wantWithDefault
		}
		if got := with.Class(peer, tt.user).Name(); got != want {
			t.Errorf("user %q at %s, with a default: class %s, want %s", tt.user, tt.peer, got, want)
		}
	}
}

func TestCheckUsers(t *testing.T) {
	l := parse(t, "limit root with\n\nassign user joe root\nassign net 10.0.0.0/8 root\nassign user ann root\n")
	if err := l.CheckUsers(func(u string) bool { return u == "joe" || u == "ann" }); err != nil {
		t.Error(err)
	}
	err := l.CheckUsers(func(u string) bool { return u == "joe" })
	if err == nil || err.Error() != `limits:5: user "ann": want one that has a pass-phrase` {
		t.Errorf("unknown user: %v", err)
	}
}

func TestMayFetch(t *testing.T) {
	l := parse(t, `limit root with
limit mine with parent=root
limit ours with parent=root, fetch=class
limit all with parent=root, fetch=ANY
limit joe with parent=ours
assign net 10.0.0.0/8 ours
`)
	at := func(addr, user string) Peer { return Peer{netip.MustParseAddr(addr), user} }
	tests := []struct {
		name          string
		creator, peer Peer
		mine, ours    bool
	}{
		{"same address", at("192.0.2.1", ""), at("192.0.2.1", ""), true, true},
		{"same address, mapped", at("192.0.2.1", ""), at("::ffff:192.0.2.1", ""), true, true},
		{"same address, proved to be somebody", at("192.0.2.1", ""), at("192.0.2.1", "ann"), true, true},
		{"another address", at("192.0.2.1", ""), at("192.0.2.2", ""), false, false},
		{"an address of the class", at("192.0.2.1", ""), at("10.0.0.1", ""), false, true},
		{"same user elsewhere", at("192.0.2.1", "ann"), at("192.0.2.9", "ann"), true, true},
		{"user's address, nobody", at("192.0.2.1", "ann"), at("192.0.2.1", ""), false, false},
		{"another user", at("10.0.0.1", "ann"), at("10.0.0.1", "bob"), false, true},
		{"user of another class", at("10.0.0.1", "ann"), at("10.0.0.1", "joe"), false, false},
		{"unknown creator", Peer{}, at("192.0.2.1", ""), false, false},
		{"unknown both", Peer{}, Peer{}, false, false},
	}
	for _, tt := range tests {
		for owner, want := range map[string]bool{"mine": tt.mine, "ours": tt.ours, "all": true} {
			if got := l.MayFetch(class(t, l, owner), tt.creator, tt.peer); got != want {
				t.Errorf("%s, class %s: %t, want %t", tt.name, owner, got, want)
			}
		}
	}
}
