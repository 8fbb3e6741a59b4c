package policy

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestParseErrors(t *testing.T) {
	const root = "limit root with\n"
	long := strings.Repeat("x", maxName+1)
	tests := []struct{ text, want string }{
		{"bogus", `1: "bogus": want limit or assign`},
		{"\n# fine\n\nlimits a with", `4: "limits": want limit or assign`},
		{"limit", `1: class "": want a name`},
		{"limit a", `1: "" after class a: want with`},
		{"limit a having disk=1", `1: "having" after class a: want with`},
		{"limit \\\n\\\n  a \\\n\\\n  having", `5: "having" after class a: want with`},
		{"limit " + long + " with", `1: class "` + long[1:] + `": a name of 81 octets: want at most 80`},
		{"limit .. with", `1: class "..": want a name without / , = and not with a dot in front`},
		{"limit a/b with", `1: class "a/b": want a name without / , = and not with a dot in front`},
		{"limit a,b with", `1: class "a,b": want a name without / , = and not with a dot in front`},
		{"limit a\x7f with", `1: class "a\x7f": want a name of printable characters in UTF-8`},
		{"limit a\xff with", `1: class "a\xff": want a name of printable characters in UTF-8`},
		{"limit a\u2028 with", `1: class "a\u2028": want a name of printable characters in UTF-8`},
		{root + "limit root with parent=root", `2: class "root": defined already: want another name`},
		{root + "\nlimit a with disk=1", `3: class a: want parent=CLASS: only the first class has none`},
		{"limit a with \\\n parent=a", `2: parent "a": want none: the first class is the root`},
		{root + "limit a with parent=b\nlimit b with parent=root", `2: parent "b": want a class that is defined above`},
		{root + "limit a with parent=a", `2: parent "a": want a class that is defined above`},
		{root + "limit a with parent=", `2: parent "": want a class that is defined above`},
		{root + "limit a with parent=Root", `2: parent "Root": want a class that is defined above`},
		{root + "limit a with parent=root, disk=1,\\\n parent=root", `3: parent "root": want one parent, which is root`},
		{root + "limit a with parent=root, packet_rate=1", `2: packet_rate of class a: want it of the root, class root`},
		{"limit a with disk=1,\\\n\tdisc=1", `2: "disc=1": want KEY=VALUE, KEY one of parent, bandwidth, disk, test_sessions, packet_rate, allow_open_mode, delete_on_fetch, fetch, third_party, connection_rate, request_rate`},
		{"limit a with disk 5", `1: "disk 5": want KEY=VALUE, KEY one of parent, bandwidth, disk, test_sessions, packet_rate, allow_open_mode, delete_on_fetch, fetch, third_party, connection_rate, request_rate`},
		{"limit a with \\\ndisk=1, \\\nDISK=1", `3: disk: set on line 2 already: want it once`},
		{"limit a with disk", `1: disk "": want digits, then at most one of k, m, g, t, p, e and z`},
		{"limit a with disk=", `1: disk "": want digits, then at most one of k, m, g, t, p, e and z`},
		{"limit a with disk=k", `1: disk "k": want digits, then at most one of k, m, g, t, p, e and z`},
		{"limit a with disk=1kb", `1: disk "1kb": want digits, then at most one of k, m, g, t, p, e and z`},
		{"limit a with disk=1kk", `1: disk "1kk": want digits, then at most one of k, m, g, t, p, e and z`},
		{"limit a with disk=1 k", `1: disk "1 k": want digits, then at most one of k, m, g, t, p, e and z`},
		{"limit a with disk=-1", `1: disk "-1": want digits, then at most one of k, m, g, t, p, e and z`},
		{"limit a with disk=+1", `1: disk "+1": want digits, then at most one of k, m, g, t, p, e and z`},
		{"limit a with disk=0x10", `1: disk "0x10": want digits, then at most one of k, m, g, t, p, e and z`},
		{"limit a with disk=1_000", `1: disk "1_000": want digits, then at most one of k, m, g, t, p, e and z`},
		{"limit a with disk==1", `1: disk "=1": want digits, then at most one of k, m, g, t, p, e and z`},
		{"limit a with disk=1.5g", `1: disk "1.5g": want digits, then at most one of k, m, g, t, p, e and z`},
		{"limit a with disk=18446744073709551616", `1: disk "18446744073709551616": want at most 18446744073709551615`},
		{"limit a with disk=19e", `1: disk "19e": want at most 18446744073709551615`},
		{"limit a with disk=1Z", `1: disk "1Z": want at most 18446744073709551615`},
		{"limit a with allow_open_mode=yes", `1: allow_open_mode "yes": want on or off`},
		{"limit a with fetch=me", `1: fetch "me": want one of creator, class, any`},
		{"assign", `1: assign "": want default, net or user`},
		{"assign group a b", `1: assign "group": want default, net or user`},
		{"assign default root\n" + root, `1: class "root": want a class that is defined above`},
		{root + "assign default", `2: class "": want a class that is defined above`},
		{root + "assign default root again", `2: "again" after class root: want the end of the line`},
		{root + "limit a with parent=root\nassign default root\nassign default a", `4: assigned to class root already: want one class`},
		{root + "limit a with parent=root\nassign net 10.0.0.0/8 root\nassign net ::ffff:10.0.0.0/104 a", `4: assigned to class root already: want one class`},
		{root + "limit a with parent=root\nassign user joe root\nassign user joe a", `4: assigned to class root already: want one class`},
		{root + "assign user", `2: user "": want a name of 1 to 80 octets`},
		{root + "assign user " + long + " root", `2: user "` + long[1:] + `": want a name of 1 to 80 octets`},
		{root + "assign net", `2: net "": want ADDRESS or ADDRESS/LENGTH`},
		{root + "assign net root", `2: net "root": want ADDRESS or ADDRESS/LENGTH`},
		{root + "assign net 10.0.0.0/ root", `2: net "10.0.0.0/": want ADDRESS or ADDRESS/LENGTH`},
		{root + "assign net 10.0.0.0/33 root", `2: net "10.0.0.0/33": want ADDRESS or ADDRESS/LENGTH`},
		{root + "assign net 10.0.0.0/255.0.0.0 root", `2: net "10.0.0.0/255.0.0.0": want ADDRESS or ADDRESS/LENGTH`},
		{root + "assign net 10/8 root", `2: net "10/8": want ADDRESS or ADDRESS/LENGTH`},
		{root + "assign net fe80::1%eth0 root", `2: net "fe80::1%eth0": want ADDRESS or ADDRESS/LENGTH`},
		{root + "assign net 0.0.0.0/0 root", `2: net "0.0.0.0/0": want a length of 1 or more; all addresses are: assign default`},
		{root + "assign net ::ffff:0:0/96 root", `2: net "::ffff:0:0/96": want a length of 1 or more; all addresses are: assign default`},
		{root + "assign net 192.168.1.1/24 root", `2: net "192.168.1.1/24": want zero bits after the first 24, as in 192.168.1.0/24`},
		{root + "assign net \\\n2001:db8::1/32 root", `3: net "2001:db8::1/32": want zero bits after the first 32, as in 2001:db8::/32`},
		{"limit a with disk=1,\\ \n", `1: \: want it only as the last character of a line`},
		{"limit a with \\\n d\\isk=1", `2: \: want it only as the last character of a line`},
		{"limit a with \\\\\n", `1: \: want it only as the last character of a line`},
		{"# fine\n\n" + strings.Repeat("x", maxLine), `3: a line of more than 16384 octets: want a shorter one`},
		{"# fine\n\nlimit a with" + strings.Repeat(" \\\n", maxLine), `3: a line of more than 16384 octets: want a shorter one`},
		{chain(maxDepth + 1), `33: parent "c31": want at most 32 classes from the root down`},
		{root + strings.Repeat("\n", 7) + classes(maxClasses), `1032: class "c1023": want at most 1024 classes`},
	}
	for _, tt := range tests {
		_, err := Parse("limits", strings.NewReader(tt.text))
		if err == nil || err.Error() != "limits:"+tt.want {
			t.Errorf("%.60q:\n got %v\nwant limits:%s", tt.text, err, tt.want)
		}
	}
}

// chain returns n classes, each the parent of the next.
func chain(n int) string {
	b := []byte("limit c0 with\n")
	for i := range n - 1 {
		b = fmt.Appendf(b, "limit c%d with parent=c%d\n", i+1, i)
	}
	return string(b)
}

// classes returns n classes below root.
func classes(n int) string {
	var b []byte
	for i := range n {
		b = fmt.Appendf(b, "limit c%d with parent=root\n", i)
	}
	return string(b)
}

func TestParseBounds(t *testing.T) {
	parse(t, chain(maxDepth))
	parse(t, "limit root with\n"+classes(maxClasses-1))

	_, err := Parse("limits", io.MultiReader(strings.NewReader("limit root with\n"), strings.NewReader(strings.Repeat("# so be it\n", maxFile/11))))
	if err == nil || err.Error() != "limits: more than 16777216 octets: want a limits file" {
		t.Errorf("a large file: %v", err)
	}
	torn := errors.New("torn")
	_, err = Parse("limits", io.MultiReader(strings.NewReader("limit root with\n"), iotest.ErrReader(torn)))
	if !errors.Is(err, torn) || err.Error() != "limits: torn" {
		t.Errorf("a reader that fails: %v", err)
	}
}

// What the C suite reads has to be read.
func TestParseLenient(t *testing.T) {
	want := parse(t, "limit root with disk=5k\nassign default root\n").String()
	for _, text := range []string{
		"limit root with disk=5k\r\nassign default root\r\n",
		"limit root with disk=5k,\nassign default root",
		"limit root with ,,disk=5000,,\nassign default root",
		"  limit\troot\vwith\fdisk = 5000 \n\t\n#\\\nassign default root\\\n",
		"lim\\\nit ro\\\not with di\\\nsk=5\\\nk\nassign default root\nassign default root",
		"LIMIT root With disk=5K\nAssign DEFAULT root",
	} {
		got, err := Parse("limits", strings.NewReader(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if diff := cmp.Diff(want, got.String()); diff != "" {
			t.Errorf("%q: -want +got:\n%s", text, diff)
		}
	}
}

func TestNumber(t *testing.T) {
	for text, want := range map[string]struct {
		n     number
		print string
	}{
		"0":                    {0, "0"},
		"0z":                   {0, "0"},
		"007":                  {7, "7"},
		"1000":                 {1000, "1k"},
		"1500k":                {1_500_000, "1500k"},
		"20M":                  {20_000_000, "20m"},
		"10G":                  {10_000_000_000, "10g"},
		"3t":                   {3e12, "3t"},
		"3p":                   {3e15, "3p"},
		"18e":                  {18e18, "18e"},
		"18446744073709551615": {1<<64 - 1, "18446744073709551615"},
	} {
		var n number
		if err := n.UnmarshalText([]byte(text)); err != nil || n != want.n {
			t.Errorf("%s: %d (%v), want %d", text, n, err, want.n)
		}
		if b, _ := n.AppendText(nil); string(b) != want.print {
			t.Errorf("%s: printed as %s, want %s", text, b, want.print)
		}
	}
}

// What is printed says the same, to the octet, when it is read again.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"testdata/packaged.limits", "testdata/whole.limits"} {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add("limit # with,\nlimit with with parent=#,fetch=any\nassign user =,# with\nassign net ::/1 #")
	f.Add("\\\n\\\n#\nlimit a with disk=1\\")
	f.Add("assign net ::ffff:0:0/97 a")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := Parse("limits", strings.NewReader(text))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "limits:") || strings.ContainsAny(err.Error(), "\n\r") {
				t.Fatalf("error %q: want one line that begins with the file", err)
			}
			return
		}
		printed := l.String()
		again, err := Parse("limits", strings.NewReader(printed))
		if err != nil {
			t.Fatalf("%v in what was printed:\n%s", err, printed)
		}
		ignoreLines := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".line" }, cmp.Ignore())
		exported := cmp.AllowUnexported(Limits{}, Class{}, settings{}, assignment{})
		if diff := cmp.Diff(l, again, exported, ignoreLines, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
			t.Fatalf("read again, -first +second:\n%s", diff)
		}
	})
}
