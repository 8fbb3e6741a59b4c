package dest

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gosnmp/gosnmp"

	"owl/archive"
	"owl/archive/dest/dial"
	"owl/archive/member"
	"owl/archive/retry"
)

const (
	trapPort     = 162
	trapTimeout  = 5 * time.Second // of each try of an inform
	trapTries    = 3
	maxVarbinds  = 100
	maxTrapValue = 32 << 10 // octets of a value, so that a trap fits into a datagram
	oidTrap      = "1.3.6.1.6.3.1.1.4.1.0"
	oidUptime    = "1.3.6.1.2.1.1.3.0"
)

// A trapDestination sends an SNMP trap for each result, as pScheduler's archiver
// does: with the variables of the specification, which are the same in each trap.
// Added are result-oid and id-oid, the OIDs of variables that have the result and
// its ID; version, where 2c is what a community means without it, and 1 can be
// asked for (its trap is made as RFC 3584, section 3.2, has it); port; bind;
// ip-version, without which a name is looked up for IPv4; engine-id of version 3;
// retry-policy; and inform, which has the receiver answer. OIDs are numbers, and
// there is no 3DES.
//
// A trap is delivered when it is sent, an inform when it was answered. A result
// that is too long for result-oid is refused for good.
type trapDestination struct {
	dial.Endpoint
	version   gosnmp.SnmpVersion
	community string
	flags     gosnmp.SnmpV3MsgFlags
	user      *gosnmp.UsmSecurityParameters // of version 3
	trap      string                        // OID
	varbinds  []gosnmp.SnmpPDU
	resultOID string // empty: the result is not sent
	idOID     string // empty: its ID is not sent
	inform    bool
	timeout   time.Duration // of a try
	begin     time.Time     // of uptime
}

func openSNMPTrap(o *member.Object, _ *archive.Spec) (archive.Opened, error) {
	o.Schema(1)
	o.Need("dest", "trap-oid")
	d := &trapDestination{
		Endpoint: dial.Endpoint{
			Host:    o.Text("dest"),
			Port:    uint16(o.Int("port", 1, 65535, trapPort)),
			Bind:    o.String("bind"),
			Version: ipVersion(o),
			Timeout: trapTimeout,
		},
		trap:      readOID(o, "trap-oid"),
		resultOID: readOID(o, "result-oid"),
		idOID:     readOID(o, "id-oid"),
		inform:    o.Bool("inform", false),
		timeout:   trapTimeout,
		begin:     time.Now(),
	}
	if a, err := netip.ParseAddr(d.Host); d.Version == 0 && (err != nil || a.Is4()) {
		d.Version = 4 // which pScheduler's archiver knows alone: a name may have both
	}
	if o.Has("instance-index") { // which belongs to the trap, and to no variable
		d.trap += "." + strconv.FormatInt(o.Int("instance-index", 0, math.MaxUint32, 0), 10)
	}
	d.readCredentials(o)
	all := o.Objects("trap-varbinds")
	if len(all) > maxVarbinds {
		o.Fail("trap-varbinds", "%d variables: want at most %d", len(all), maxVarbinds)
	}
	for _, v := range all {
		v.Need("oid", "value")
		pdu, err := variable(readOID(v, "oid"), v.Any("value"))
		if err != nil {
			v.Fail("value", "%v", err)
		}
		v.Done()
		d.varbinds = append(d.varbinds, pdu)
	}
	return archive.Opened{Destination: d, Retry: retry.Read(o, false), Parallel: 4}, nil
}

// readOID reads a member that is an OID in numbers, without a dot before it. Names
// would want the files of MIBs.
func readOID(o *member.Object, name string) string {
	s := strings.TrimPrefix(o.String(name), ".")
	if o.Has(name) && !isOID(s) {
		o.Fail(name, "%.200q: want an OID in numbers, such as 1.3.6.1.4.1.8072.9999.1", s)
	}
	return s
}

// isOID reports whether s is an OID (RFC 2578, section 3.5).
func isOID(s string) bool {
	parts := strings.Split(s, ".")
	if len(parts) < 2 || len(parts) > 128 {
		return false
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 32)
		if err != nil || i == 0 && n > 2 || i == 1 && n > 39 && parts[0] != "2" {
			return false
		}
	}
	return true
}

// readCredentials reads the version of SNMP, and what the receiver knows us by.
func (d *trapDestination) readCredentials(o *member.Object) {
	version := "3"
	if o.Has("_community") {
		version = "2c"
	}
	if o.Has("version") {
		version = o.Option("version", "1", "2c", "3")
	}
	if version == "3" {
		d.version = gosnmp.Version3
		d.readUser(o)
		return
	}
	o.Need("_community")
	d.community = o.String("_community")
	d.version = gosnmp.Version2c
	if version == "1" {
		d.version = gosnmp.Version1
		if d.inform {
			o.Fail("inform", "want version 2c or 3 for it")
		}
		if strings.Count(d.trap, ".") < 2 {
			o.Fail("trap-oid", "want a longer one in version 1")
		}
	}
}

var (
	authProtocols = map[string]gosnmp.SnmpV3AuthProtocol{
		"MD5": gosnmp.MD5, "SHA": gosnmp.SHA, "SHA224": gosnmp.SHA224, "SHA256": gosnmp.SHA256, "SHA384": gosnmp.SHA384, "SHA512": gosnmp.SHA512}
	// AES192 and AES256 have their keys as pScheduler's archiver makes them, which
	// is Reeder's way.
	privProtocols = map[string]gosnmp.SnmpV3PrivProtocol{
		"AES": gosnmp.AES, "AES128": gosnmp.AES, "AES192": gosnmp.AES192C, "AES256": gosnmp.AES256C, "DES": gosnmp.DES}
)

// Levels of security, and the members that are theirs (RFC 3414).
const (
	noAuthNoPriv = "noAuthNoPriv"
	authNoPriv   = "authNoPriv"
	authPriv     = "authPriv"
	leastKey     = 8 // octets (RFC 3414, section 11.2)
)

// readUser reads the members of version 3.
func (d *trapDestination) readUser(o *member.Object) {
	o.Need("security-name")
	u := &gosnmp.UsmSecurityParameters{UserName: o.Text("security-name"), AuthenticationProtocol: gosnmp.NoAuth, PrivacyProtocol: gosnmp.NoPriv}
	level := noAuthNoPriv
	if o.Has("_auth-key") {
		level = authNoPriv
	}
	if o.Has("_priv-key") {
		level = authPriv
	}
	if o.Has("security-level") {
		level = o.Option("security-level", noAuthNoPriv, authNoPriv, authPriv)
	}
	d.flags = gosnmp.NoAuthNoPriv
	if level != noAuthNoPriv {
		d.flags = gosnmp.AuthNoPriv
		u.AuthenticationPassphrase = readKey(o, "_auth-key")
		o.Need("auth-protocol")
		u.AuthenticationProtocol = authProtocols[o.Option("auth-protocol", slices.Sorted(maps.Keys(authProtocols))...)]
	}
	if level == authPriv {
		d.flags = gosnmp.AuthPriv
		u.PrivacyPassphrase = readKey(o, "_priv-key")
		o.Need("priv-protocol")
		u.PrivacyProtocol = privProtocols[o.Option("priv-protocol", slices.Sorted(maps.Keys(privProtocols))...)]
	}
	unused := map[string][]string{
		noAuthNoPriv: {"_auth-key", "auth-protocol", "_priv-key", "priv-protocol"},
		authNoPriv:   {"_priv-key", "priv-protocol"},
	}
	for _, name := range unused[level] {
		if o.Has(name) {
			o.Fail(name, "want none of it where security-level is %s", level)
		}
	}
	engine := engineID()
	if o.Has("engine-id") {
		b, err := hex.DecodeString(strings.TrimPrefix(o.String("engine-id"), "0x"))
		if err != nil || len(b) < 5 || len(b) > 32 {
			o.Fail("engine-id", "want 5 to 32 octets in hexadecimal digits")
		}
		engine = string(b)
	}
	if !d.inform { // of an inform the receiver is the authority, whose ID is asked for
		u.AuthoritativeEngineID = engine
	}
	d.user = u
}

func readKey(o *member.Object, name string) string {
	o.Need(name)
	key := o.String(name)
	if o.Has(name) && len(key) < leastKey {
		o.Fail(name, "want at least %d octets", leastKey)
	}
	return key
}

// engineID returns the ID of this host's engine unless one is given: as text, with
// the enterprise number of examples (RFC 3411, section 5, SnmpEngineID).
func engineID() string {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	const longest = 27 // octets that are left
	text := "owl " + host
	return "\x80\x00\x7e\xd9\x04" + text[:min(len(text), longest)]
}

// variable returns a variable with a JSON value. Numbers that are whole are
// integers, or counters of 64 bits if they are large; what SNMP has no type for is
// text.
func variable(oid string, v any) (gosnmp.SnmpPDU, error) {
	pdu := gosnmp.SnmpPDU{Name: oid, Type: gosnmp.OctetString}
	switch v := v.(type) {
	case nil:
		pdu.Type = gosnmp.Null
	case string:
		pdu.Value = v
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 32); err == nil {
			pdu.Type, pdu.Value = gosnmp.Integer, int(n)
		} else if n, err := strconv.ParseUint(v.String(), 10, 64); err == nil {
			pdu.Type, pdu.Value = gosnmp.Counter64, n
		} else {
			pdu.Value = v.String()
		}
	default:
		text, err := json.Marshal(v)
		if err != nil {
			return pdu, err
		}
		pdu.Value = string(text)
	}
	if s, ok := pdu.Value.(string); ok && len(s) > maxTrapValue {
		return pdu, fmt.Errorf("%d octets: want at most %d", len(s), maxTrapValue)
	}
	return pdu, nil
}

// variables returns the variables of a result's trap.
func (d *trapDestination) variables(item *archive.Item) ([]gosnmp.SnmpPDU, error) {
	all := slices.Clone(d.varbinds)
	if d.resultOID != "" {
		text, err := plain(item.Payload)
		if err != nil {
			return nil, err
		}
		if len(text) > maxTrapValue {
			return nil, fmt.Errorf("the result has %d octets: want at most %d, which a transform may see to", len(text), maxTrapValue)
		}
		all = append(all, gosnmp.SnmpPDU{Name: d.resultOID, Type: gosnmp.OctetString, Value: string(text)})
	}
	if d.idOID != "" {
		all = append(all, gosnmp.SnmpPDU{Name: d.idOID, Type: gosnmp.OctetString, Value: item.ID})
	}
	return all, nil
}

func (d *trapDestination) Deliver(ctx context.Context, item *archive.Item) error {
	variables, err := d.variables(item)
	if err != nil {
		return archive.Final(fmt.Errorf("failed to archive: %w", err))
	}
	// Which address is used, of those that the host has and from which of ours,
	// is found out by connecting, which sends nothing.
	conn, err := d.Connect(ctx, "udp")
	if err != nil {
		return err
	}
	local, remote := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr(), conn.RemoteAddr().(*net.UDPAddr).AddrPort().Addr()
	conn.Close()
	x := &gosnmp.GoSNMP{
		Target:    remote.Unmap().String(),
		Port:      d.Port,
		LocalAddr: net.JoinHostPort(local.Unmap().String(), "0"),
		Community: d.community,
		Version:   d.version,
		Context:   ctx,
		Timeout:   d.timeout,
		Retries:   trapTries - 1,
	}
	if d.user != nil {
		x.SecurityModel, x.MsgFlags, x.SecurityParameters = gosnmp.UserSecurityModel, d.flags, d.authority()
	}
	if err := x.Connect(); err != nil {
		return fmt.Errorf("failed to archive: %w", err)
	}
	defer x.Close()
	uptime := uint32(time.Since(d.begin) / (10 * time.Millisecond))
	trap := d.asTrap(local.Unmap(), uptime, variables)
	answer, err := x.SendTrap(trap)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("failed to archive: %w", err)
	case d.inform && (answer.PDUType != gosnmp.GetResponse || answer.Error != gosnmp.NoError):
		return fmt.Errorf("failed to archive: the receiver answers with %s, %s", answer.PDUType, answer.Error)
	}
	return nil
}

// asTrap returns what is sent of the variables.
func (d *trapDestination) asTrap(local netip.Addr, uptime uint32, variables []gosnmp.SnmpPDU) gosnmp.SnmpTrap {
	if d.version != gosnmp.Version1 {
		return gosnmp.SnmpTrap{IsInform: d.inform, Variables: append([]gosnmp.SnmpPDU{
			{Name: oidUptime, Type: gosnmp.TimeTicks, Value: uptime},
			{Name: oidTrap, Type: gosnmp.ObjectIdentifier, Value: d.trap},
		}, variables...)}
	}
	t := gosnmp.SnmpTrap{Variables: variables, AgentAddress: "0.0.0.0", Timestamp: uint(uptime)}
	if local.Is4() {
		t.AgentAddress = local.String()
	}
	t.Enterprise, t.GenericTrap, t.SpecificTrap = version1(d.trap)
	return t
}

// version1 returns how a trap of version 1 says what a later one says by its OID
// (RFC 3584, section 3.2).
func version1(oid string) (enterprise string, generic, specific int) {
	const (
		standard           = "1.3.6.1.6.3.1.1.5" // whose first six are generic
		enterpriseSpecific = 6
	)
	above, last := oid[:strings.LastIndexByte(oid, '.')], oid[strings.LastIndexByte(oid, '.')+1:]
	n, _ := strconv.Atoi(last) // digits, as readOID has seen
	if above == standard && n >= 1 && n <= 6 {
		return standard, n - 1, 0
	}
	return strings.TrimSuffix(above, ".0"), enterpriseSpecific, n
}

// authority returns the parameters of a message of version 3. Its time may not go
// back from one start to the next, and nothing is kept: so it is that since 2020,
// in one long boot.
func (d *trapDestination) authority() gosnmp.SnmpV3SecurityParameters {
	u := d.user.Copy().(*gosnmp.UsmSecurityParameters)
	if u.AuthoritativeEngineID != "" {
		u.AuthoritativeEngineBoots = 1
		u.AuthoritativeEngineTime = uint32(time.Since(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)) / time.Second)
	}
	return u
}

func (*trapDestination) Close() error { return nil }
