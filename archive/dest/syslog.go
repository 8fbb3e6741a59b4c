package dest

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"owl/archive"
	"owl/archive/dest/dial"
	"owl/archive/dest/internal/certs"
	"owl/archive/dest/internal/pool"
	"owl/archive/member"
	"owl/archive/retry"
)

const (
	devLog = "/dev/log"
	// messageSize is how long a message may be unless its destination says
	// otherwise, in octets, all of it: what rsyslog takes. leastMessage is what
	// every server takes (RFC 5424, section 6.1).
	messageSize   = 8192
	leastMessage  = 480
	longestStream = 1 << 20
	maxParts      = 1000
	syslogTimeout = 30 * time.Second
	// syslogLife is how long a connection is used, after which the server's name
	// is looked up again: over UDP nothing else would tell that it has moved.
	syslogLife = time.Minute
)

// facilities and priorities have their codes as indices (RFC 5424, section 6.2.1);
// what pScheduler does not know is empty.
var (
	facilities = [...]string{"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron",
		"", "", "", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"}
	priorities = [...]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}
)

// A syslogDestination logs results: to the syslog daemon of this host as syslog(3)
// does, or, if there is a host, to a server in the form of RFC 5424, over UDP
// (RFC 5426), TCP with counted octets (RFC 6587) or TLS (RFC 5425).
//
// A message that would be longer than max-length is not cut: it is refused for
// good, or with split sent in parts, each of which names the result and says which
// part it is of how many. The form of RFC 5424 has the result's ID in any case, as
// structured data; the local one has it within the result, and in parts.
//
// Nobody answers in syslog: a result is delivered when the local daemon's socket
// has it, when the datagram is sent, or, over TCP and TLS, when the server's host
// has acknowledged it.
type syslogDestination struct {
	server   syslogServer
	pool     *pool.Pool[*syslogConn]
	ident    string
	code     int // of facility and priority
	local    bool
	host     string // this one's
	longest  int
	split    bool
	now      func() time.Time
	location *time.Location
}

// identForm is what an APP-NAME may be (RFC 5424, section 6.2.5).
var identForm = regexp.MustCompile(`^[!-~]{1,48}$`)

func openSyslog(o *member.Object, _ *archive.Spec) (archive.Opened, error) {
	o.Schema(1)
	d := &syslogDestination{ident: "pScheduler", now: time.Now, location: time.Local}
	if o.Has("ident") {
		d.ident = o.String("ident")
	}
	if strings.ContainsAny(d.ident, "\x00\r\n") {
		o.Fail("ident", "want one line of text")
	}
	d.code = choice(o, "facility", facilities[:], "user")<<3 | choice(o, "priority", priorities[:], "info")
	d.local = !o.Has("host")
	d.pool = &pool.Pool[*syslogConn]{
		Dial:   d.server.connect,
		Alive:  func(_ context.Context, c *syslogConn) bool { return c.alive() },
		Hangup: func(c *syslogConn) { c.Close() },
		Life:   syslogLife,
	}
	if d.local {
		d.server.path = devLog
		if o.Has("path") {
			d.server.path = o.Text("path")
		}
	} else {
		d.readServer(o)
	}
	d.longest = int(o.Int("max-length", leastMessage, longestStream, messageSize))
	d.split = o.Bool("split", false)
	return archive.Opened{Destination: d, Retry: retry.Read(o, false)}, nil
}

// choice returns the index of a member's value among options, which may have gaps.
func choice(o *member.Object, name string, options []string, otherwise string) int {
	value := otherwise
	if o.Has(name) {
		value = o.Option(name, slices.DeleteFunc(slices.Clone(options), func(s string) bool { return s == "" })...)
	}
	return max(slices.Index(options, value), 0)
}

// readServer reads the members that say which server is logged to.
func (d *syslogDestination) readServer(o *member.Object) {
	d.server.transport = o.Option("transport", "udp", "tcp", "tls")
	port := map[string]int64{"tcp": 601, "tls": 6514}[d.server.transport]
	if port == 0 {
		port = 514
	}
	d.server.Endpoint = dial.Endpoint{
		Host:    o.Text("host"),
		Port:    uint16(o.Int("port", 1, 65535, port)),
		Bind:    o.String("bind"),
		Version: ipVersion(o),
		Timeout: syslogTimeout,
	}
	if d.server.transport == "tls" {
		d.readTLS(o)
	}
	if !identForm.MatchString(d.ident) {
		o.Fail("ident", "want at most 48 characters, without spaces, where there is a host (RFC 5424)")
	}
	var err error
	if d.host, err = os.Hostname(); err != nil || !hostForm.MatchString(d.host) {
		d.host = "-"
	}
}

// readTLS reads how the server is trusted, and what certificate we have for it.
func (d *syslogDestination) readTLS(o *member.Object) {
	d.server.certs = certs.Files{
		CA:       o.String("_ssl-cacert"),
		Cert:     o.String("_ssl-cert"),
		Key:      o.String("_ssl-key"),
		Password: o.String("_ssl-password"),
		AnyCert:  !o.Bool("verify-ssl", true),
	}
	if o.Err() != nil {
		return
	}
	if _, err := d.server.certs.Config(d.server.Host); err != nil {
		o.Fail("transport", "%v", err)
	}
}

// hostForm is what a HOSTNAME may be (RFC 5424, section 6.2.4).
var hostForm = regexp.MustCompile(`^[!-~]{1,255}$`)

func (d *syslogDestination) Deliver(ctx context.Context, item *archive.Item) error {
	messages, err := d.messages(item)
	if err != nil {
		return archive.Final(fmt.Errorf("failed to log result: %w", err))
	}
	for {
		fresh := true
		err := d.pool.Use(ctx, func(c *syslogConn) (again bool, err error) {
			fresh = !c.used
			err = c.send(ctx, messages)
			return err == nil, err
		})
		switch {
		case err == nil:
			return nil
		case fresh || ctx.Err() != nil || archive.IsFinal(err):
			return fmt.Errorf("failed to log result: %w", err)
		}
		// The daemon was restarted, maybe. Some of it may be there already: that is
		// what the ID is for.
	}
}

// messages returns what is sent for a result.
func (d *syslogDestination) messages(item *archive.Item) ([][]byte, error) {
	text, err := plain(item.Payload)
	if err != nil {
		return nil, err
	}
	now := d.now()
	whole := append(d.head(now, item.ID, 0, 0), text...)
	if len(whole) <= d.longest {
		return [][]byte{whole}, nil
	}
	if !d.split {
		return nil, fmt.Errorf("it takes a message of %d octets: want at most %d (max-length), or split", len(whole), d.longest)
	}
	room := d.longest - len(d.head(now, item.ID, maxParts, maxParts))
	if room < utf8.UTFMax {
		return nil, fmt.Errorf("max-length is %d: want more, there is no room for a part of a result", d.longest)
	}
	parts := cut(text, room)
	if len(parts) > maxParts {
		return nil, fmt.Errorf("it takes %d messages: want at most %d", len(parts), maxParts)
	}
	all := make([][]byte, len(parts))
	for i, p := range parts {
		all[i] = append(d.head(now, item.ID, i+1, len(parts)), p...)
	}
	return all, nil
}

// cut returns text in pieces of at most room octets, none of which ends within a
// character.
func cut(text []byte, room int) [][]byte {
	var all [][]byte
	for len(text) > room {
		n := room
		for back := 0; back < utf8.UTFMax-1 && !utf8.RuneStart(text[n]); back++ {
			n--
		}
		if !utf8.RuneStart(text[n]) { // no UTF-8
			n = room
		}
		all, text = append(all, text[:n]), text[n:]
	}
	return append(all, text)
}

// head returns what a message begins with; part is 0 for a whole one.
func (d *syslogDestination) head(now time.Time, id string, part, parts int) []byte {
	if d.local {
		b := fmt.Appendf(nil, "<%d>%s %s: ", d.code, now.In(d.location).Format(time.Stamp), d.ident)
		if part > 0 {
			b = fmt.Appendf(b, "[result %s part %d/%d] ", id, part, parts)
		}
		return b
	}
	// 32473 is the enterprise number of examples (RFC 5612): Owl has none.
	b := fmt.Appendf(nil, `<%d>1 %s %s %s - - [owl@32473 id="%s"`, d.code, now.UTC().Format("2006-01-02T15:04:05.000000Z"), d.host, d.ident, escaper.Replace(id))
	if part > 0 {
		b = fmt.Appendf(b, ` part="%d" parts="%d"`, part, parts)
	}
	// No mark of byte order comes before the text, as JSON has it (RFC 8259, section 8.1).
	return append(b, "] "...)
}

// escaper is for the values of structured data (RFC 5424, section 6.3.3).
var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`)

func (d *syslogDestination) Close() error {
	d.pool.Close()
	return nil
}
