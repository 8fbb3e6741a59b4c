package rabbitmq

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"owl/archive/dest/internal/certs"
)

// An address is where a broker is, and who we are there.
type address struct {
	host     string
	port     string
	secure   bool // TLS
	name     string
	password string
	vhost    string
	logins   []string // mechanisms, the best first
	server   string   // whose certificate the broker has
	certs    certs.Files

	heartbeat time.Duration // 0: the usual
	program   string        // what the broker calls the connection; empty: an archive's
}

// errURL tells nothing of the URL, which has a password in it.
var errURL = errors.New("want a URL amqp://NAME:PASSWORD@HOST:PORT/VHOST, or amqps://…, with %40 for a @ in one of these, and so on")

// parseURL reads an AMQP URL, as RabbitMQ has it: without a name and a password
// they are guest, without a vhost it is /.
func parseURL(s string) (*address, error) {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.Opaque != "" || u.Fragment != "" {
		return nil, errURL
	}
	a := &address{
		host:     u.Hostname(),
		port:     u.Port(),
		name:     "guest",
		password: "guest",
		vhost:    strings.TrimPrefix(u.Path, "/"),
		logins:   []string{"PLAIN", "AMQPLAIN"},
	}
	standard := "5672"
	switch u.Scheme {
	case "amqp":
	case "amqps":
		a.secure, standard = true, "5671"
	default:
		return nil, errURL
	}
	if a.port == "" {
		a.port = standard
	}
	if _, err := net.LookupPort("tcp", a.port); err != nil {
		return nil, errURL
	}
	if u.User != nil {
		a.name = u.User.Username()
		if p, ok := u.User.Password(); ok {
			a.password = p
		}
	}
	if a.vhost == "" {
		a.vhost = "/"
	}
	a.server = a.host
	return a, a.parameters(u.RawQuery)
}

// parameters reads what is behind the ? of a URL.
func (a *address) parameters(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errURL
	}
	texts := map[string]*string{
		"cacertfile":             &a.certs.CA,
		"certfile":               &a.certs.Cert,
		"keyfile":                &a.certs.Key,
		"server_name_indication": &a.server,
	}
	for name, all := range values {
		if text := texts[name]; text != nil {
			if !a.secure {
				return fmt.Errorf("parameter %s: want amqps:// with it", name)
			}
			*text = all[0]
			continue
		}
		switch name {
		case "verify":
			if all[0] != "verify_peer" && all[0] != "verify_none" {
				return errors.New("parameter verify: want verify_peer or verify_none")
			}
			a.certs.AnyCert = all[0] == "verify_none"
		case "auth_mechanism":
			a.logins = nil
			for _, m := range all {
				a.logins = append(a.logins, strings.ToUpper(m))
			}
		default:
			names := append(slices.Collect(maps.Keys(texts)), "verify", "auth_mechanism")
			slices.Sort(names)
			return fmt.Errorf("a parameter that is not known: want one of %s", strings.Join(names, ", "))
		}
	}
	for _, m := range a.logins {
		if a.login(m) == nil {
			return errors.New("parameter auth_mechanism: want plain, amqplain or external")
		}
	}
	return nil
}

// login returns how to log in; nil: the mechanism is not known.
func (a *address) login(mechanism string) amqp.Authentication {
	switch mechanism {
	case "PLAIN":
		return &amqp.PlainAuth{Username: a.name, Password: a.password}
	case "AMQPLAIN":
		return &amqp.AMQPlainAuth{Username: a.name, Password: a.password}
	case "EXTERNAL":
		return &amqp.ExternalAuth{}
	}
	return nil
}

// tls returns how to speak TLS with the broker; nil: not at all.
func (a *address) tls() (*tls.Config, error) {
	if !a.secure {
		return nil, nil
	}
	return a.certs.Config(a.server)
}
