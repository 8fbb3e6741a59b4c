package kafka

import (
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"owl/archive/dest/internal/certs"
	"owl/archive/member"
)

// dialLimit bounds connecting to a broker.
const dialLimit = 10 * time.Second

// Security protocols, as Kafka calls them.
const (
	plaintext     = "PLAINTEXT"
	ssl           = "SSL"
	saslPlaintext = "SASL_PLAINTEXT"
	saslSSL       = "SASL_SSL"
)

// doors are how brokers are entered.
type doors struct {
	secure bool // TLS
	certs  certs.Files
	last   atomic.Pointer[error] // of connecting; nil: the last time it went well
}

// read reads how brokers are entered. It returns how to log in; nil: not at all.
func (d *doors) read(o *member.Object, schema int64) sasl.Mechanism {
	protocol := plaintext
	if schema >= 2 {
		o.Need("security-protocol")
	}
	if o.Since(schema, 2, "security-protocol") {
		protocol = o.Option("security-protocol", plaintext, ssl, saslPlaintext, saslSSL)
	}
	d.secure = protocol == ssl || protocol == saslSSL
	d.readTLS(o, schema)
	return readLogin(o, schema, protocol == saslPlaintext || protocol == saslSSL)
}

// readTLS reads which certificates there are.
func (d *doors) readTLS(o *member.Object, schema int64) {
	has := func(name string) bool {
		if !o.Since(schema, 2, name) {
			return false
		}
		if !d.secure {
			o.Fail(name, "want it only with the security-protocol %s or %s", ssl, saslSSL)
		}
		return true
	}
	for _, file := range []struct {
		name string
		path *string
	}{
		{"_ssl-cacert", &d.certs.CA},
		{"_ssl-ca", &d.certs.CA},
		{"_ssl-cert", &d.certs.Cert},
		{"_ssl-key", &d.certs.Key},
		{"_ssl-password", &d.certs.Password},
	} {
		if has(file.name) {
			*file.path = o.String(file.name)
		}
	}
	if o.Has("_ssl-cacert") && o.Has("_ssl-ca") {
		o.Fail("_ssl-ca", "want either it or _ssl-cacert")
	}
	if has("ssl-checkhostname") {
		d.certs.AnyName = !o.Bool("ssl-checkhostname", true)
	}
	if d.secure && o.Err() == nil {
		if _, err := d.certs.Config(""); err != nil {
			o.Fail("security-protocol", "%v", err)
		}
	}
}

// readLogin reads who we are, if that is wanted.
func readLogin(o *member.Object, schema int64, wanted bool) sasl.Mechanism {
	const mechanism, name, password = "sasl-mechanism", "sasl-username", "_sasl-password"
	if !wanted {
		for _, m := range []string{mechanism, name, password} {
			if o.Since(schema, 2, m) {
				o.Fail(m, "want it only with the security-protocol %s or %s", saslPlaintext, saslSSL)
			}
		}
		return nil
	}
	o.Need(name, password)
	user, pass := o.Text(name), o.Text(password)
	switch o.Option(mechanism, "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512") {
	case "SCRAM-SHA-256":
		return scram.Auth{User: user, Pass: pass}.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		return scram.Auth{User: user, Pass: pass}.AsSha512Mechanism()
	}
	return plain.Auth{User: user, Pass: pass}.AsMechanism()
}

// dial connects to a broker.
func (d *doors) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.connect(ctx, network, address)
	if err != nil {
		d.last.Store(&err)
		return nil, err
	}
	d.last.Store(nil)
	return conn, nil
}

func (d *doors) connect(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	var dialer net.Dialer
	if !d.secure {
		return dialer.DialContext(ctx, network, address)
	}
	config, err := d.certs.Config(host)
	if err != nil {
		return nil, err
	}
	secure := tls.Dialer{NetDialer: &dialer, Config: config}
	return secure.DialContext(ctx, network, address)
}

// shut returns why no broker could be entered the last time; nil: one could.
func (d *doors) shut() error {
	if err := d.last.Load(); err != nil {
		return *err
	}
	return nil
}
