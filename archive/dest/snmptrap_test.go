package dest

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/gosnmp/gosnmp"

	"owl/archive"
	"owl/internal/testserver"
)

// TestTraps: what snmptrapd gets, of every version and level of security, and as
// traps and as informs.
func TestTraps(t *testing.T) {
	t.Parallel()
	r := testserver.StartTrapReceiver(t, hex.EncodeToString([]byte(engineID())))
	const own = "1.3.6.1.4.1.8072.9999.9999"
	long := strings.Repeat("x", 3000)
	alice := fmt.Sprintf(`"security-name": "alice", "auth-protocol": "SHA", "_auth-key": %q, "priv-protocol": "AES", "_priv-key": %[1]q`, testserver.TrapKey)
	for i, c := range []struct{ data, payload, want string }{
		// The one that the package of pScheduler's archiver is tested with.
		{`"_community": "public", "trap-oid": "1.2.3"`, `{}`, ".1.3.6.1.6.3.1.1.4.1.0 = OID: .1.2.3|.1.9.0 = "},
		{`"_community": "public", "trap-oid": ".` + own + `.0.1", "instance-index": 7, "result-oid": "` + own + `.2"`, `{"a":"é"}`,
			".1.3.6.1.6.3.1.1.4.1.0 = OID: ." + own + ".0.1.7|." + own + `.2 = Hex-STRING: 7B 22 61 22 3A 22 C3 A9 22 7D`},
		{`"_community": "public", "inform": true, "trap-oid": "` + own + `.0.1", "trap-varbinds": [` +
			`{"oid": "` + own + `.3", "value": -7}, {"oid": "` + own + `.4", "value": 3000000000}, {"oid": "` + own + `.5", "value": 1.5},` +
			`{"oid": "` + own + `.6", "value": true}, {"oid": "` + own + `.7", "value": null}, {"oid": "` + own + `.8", "value": "text"}]`, `{}`,
			"." + own + ".3 = INTEGER: -7|." + own + ".4 = Counter64: 3000000000|." + own + `.5 = STRING: "1.5"|.` + own + `.6 = STRING: "true"|.` + own + ".7 = NULL|." + own + `.8 = STRING: "text"`},
		{`"_community": "public", "trap-oid": "` + own + `.0.1", "result-oid": "` + own + `.2"`, `"` + long + `"`, "." + own + `.2 = STRING: "` + long + `"`},
		{`"_community": "public", "version": "1", "trap-oid": "` + own + `.0.17"`, `{}`, "trap|." + own + "|6|.17|"},
		{`"_community": "public", "version": "1", "trap-oid": "1.3.6.1.6.3.1.1.5.4"`, `{}`, "trap|.1.3.6.1.6.3.1.1.5|3|0|"},
		{`"security-level": "authPriv", "trap-oid": "` + own + `.0.1", ` + alice, `{}`, "." + own + ".0.1|"},
		{`"inform": true, "trap-oid": "` + own + `.0.1", ` + alice, `{}`, "." + own + ".0.1|"},
		{fmt.Sprintf(`"security-name": "bob", "auth-protocol": "MD5", "_auth-key": %q, "trap-oid": "%s.0.1"`, testserver.TrapKey, own), `{}`, "." + own + ".0.1|"},
	} {
		mark := fmt.Sprintf("1.9.%d", i)
		d := open(t, "snmptrap", fmt.Sprintf(`{"dest": "127.0.0.1", "port": %d, "id-oid": "%s", %s}`, r.Port, mark, c.data))
		if err := deliver(t, d, c.payload); err != nil {
			t.Errorf("%s: %v", c.data, err)
			continue
		}
		line := r.Await(t, "."+mark+` = STRING: "`+testID+`"`)
		if !strings.Contains(line, c.want) {
			t.Errorf("%s: the receiver tells of\n%s\nwant\n%s", c.data, line, c.want)
		}
	}
	// An inform is answered, or it is not delivered.
	for _, data := range []string{
		`"inform": true, "_community": "secret-community"`,
		fmt.Sprintf(`"inform": true, "security-name": "alice", "auth-protocol": "SHA", "_auth-key": "not the key", "priv-protocol": "AES", "_priv-key": %q`, testserver.TrapKey),
	} {
		d := open(t, "snmptrap", fmt.Sprintf(`{"dest": "127.0.0.1", "port": %d, "trap-oid": "1.2.3", %s}`, r.Port, data))
		s := d.Destination.(*discreet).Destination.(*trapDestination)
		s.timeout /= 100
		if err := deliver(t, d, "1"); err == nil || archive.IsFinal(err) || strings.Contains(err.Error(), "secret-community") {
			t.Errorf("%s: %v", data, err)
		}
	}
	d := open(t, "snmptrap", `{"dest": "127.0.0.1", "_community": "public", "trap-oid": "1.2.3", "result-oid": "1.2.4"}`)
	if err := deliver(t, d, `"`+strings.Repeat("x", maxTrapValue+1)+`"`); !archive.IsFinal(err) {
		t.Errorf("a result that is too long: %v", err)
	}
}

// TestVersion1: RFC 3584, section 3.2.
func TestVersion1(t *testing.T) {
	for _, c := range []struct {
		oid, enterprise   string
		generic, specific int
	}{
		{"1.3.6.1.6.3.1.1.5.1", "1.3.6.1.6.3.1.1.5", 0, 0},
		{"1.3.6.1.6.3.1.1.5.5", "1.3.6.1.6.3.1.1.5", 4, 0},
		{"1.3.6.1.6.3.1.1.5.7", "1.3.6.1.6.3.1.1.5", 6, 7},
		{"1.3.6.1.4.1.99.0.12", "1.3.6.1.4.1.99", 6, 12},
		{"1.3.6.1.4.1.99.12", "1.3.6.1.4.1.99", 6, 12},
		{"1.3.6.1.4.1.10.12", "1.3.6.1.4.1.10", 6, 12},
	} {
		e, g, s := version1(c.oid)
		if e != c.enterprise || g != c.generic || s != c.specific {
			t.Errorf("%s: %s %d %d", c.oid, e, g, s)
		}
	}
}

// TestTrapVersions: a name is looked up for IPv4, as pScheduler's archiver does it.
func TestTrapVersions(t *testing.T) {
	for data, want := range map[string]int{
		`"dest": "h"`: 4, `"dest": "192.0.2.1"`: 4, `"dest": "2001:db8::1"`: 0, `"dest": "h", "ip-version": 6`: 6,
	} {
		d := open(t, "snmptrap", `{"_community": "c", "trap-oid": "1.2.3", `+data+`}`)
		if got := d.Destination.(*discreet).Destination.(*trapDestination).Version; got != want {
			t.Errorf("%s: IP version %d, want %d", data, got, want)
		}
	}
}

// TestTrapTime: the time of our engine does not go back.
func TestTrapTime(t *testing.T) {
	d := &trapDestination{user: &gosnmp.UsmSecurityParameters{AuthoritativeEngineID: engineID()}}
	u := d.authority().(*gosnmp.UsmSecurityParameters)
	const in2026, in2087 = 6 * 365 * 86400, 1<<31 - 1
	if u.AuthoritativeEngineBoots != 1 || u.AuthoritativeEngineTime < in2026 || u.AuthoritativeEngineTime > in2087 {
		t.Errorf("boot %d, time %d", u.AuthoritativeEngineBoots, u.AuthoritativeEngineTime)
	}
	if n := len(engineID()); n < 5 || n > 32 {
		t.Errorf("the engine's ID has %d octets", n)
	}
	if _, err := tryOpen("snmptrap", `{"dest": "h", "security-name": "u", "trap-oid": "1.2.3", "engine-id": "80001f8880"}`); err != nil {
		t.Error(err)
	}
}
