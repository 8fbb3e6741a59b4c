package serve

import (
	"crypto/tls"
	"fmt"
	"sync/atomic"
	"time"
)

// A Certificate is what a server has in two files, of which it may have new ones
// while it runs.
type Certificate struct {
	cert, key string
	pair      atomic.Pointer[tls.Certificate]
}

// LoadCertificate reads a certificate, with those that it was signed by behind
// it, and its key, both in PEM. They may be in one file.
func LoadCertificate(cert, key string) (*Certificate, error) {
	c := &Certificate{cert: cert, key: key}
	return c, c.Reload()
}

// Reload reads the files again. With an error what was in force stays.
func (c *Certificate) Reload() error {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w", c.cert, c.key, err)
	}
	c.pair.Store(&pair)
	return nil
}

// Expires returns when the certificate is no longer good.
func (c *Certificate) Expires() time.Time { return c.pair.Load().Leaf.NotAfter }

// config returns how a server speaks TLS with the certificate.
func (c *Certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.pair.Load(), nil },
	}
}
