// Package certs makes TLS configurations of certificates and keys in files, as
// programs of OpenSSL write them.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxFile bounds a file, in octets.
const maxFile = 4 << 20

// Files says by their paths where certificates and keys are, in PEM. They are
// read whenever a configuration is made, so that new ones are used when they are
// there.
type Files struct {
	CA       string // of those who may have signed a server's; empty: the system's
	Cert     string // our own, and those between it and who has signed it
	Key      string // of our own certificate; empty: in the same file
	Password string // of the key, if that is encrypted
	// AnyName says that a server's certificate may be for another name.
	AnyName bool
	// AnyCert says that a server's certificate is not looked at.
	AnyCert bool
}

// Config returns the configuration of a client that connects to the server of a
// name. The error names the file that is wrong, and none of what is in it.
func (f *Files) Config(server string) (*tls.Config, error) {
	c := &tls.Config{ServerName: server, InsecureSkipVerify: f.AnyCert || f.AnyName}
	if f.CA != "" {
		text, err := read(f.CA)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s: want certificates in PEM", f.CA)
		}
	}
	if f.AnyName && !f.AnyCert {
		c.VerifyConnection = func(s tls.ConnectionState) error { return signed(s.PeerCertificates, c.RootCAs) }
	}
	if f.Cert == "" {
		if f.Key != "" {
			return nil, fmt.Errorf("%s: want a certificate for this key as well", f.Key)
		}
		return c, nil
	}
	pair, err := f.pair()
	if err != nil {
		return nil, err
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}

// signed reports as an error that nobody of roots, nil for the system's, has
// signed the first of some certificates.
func signed(certs []*x509.Certificate, roots *x509.CertPool) error {
	if len(certs) == 0 {
		return errors.New("the server has no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	_, err := certs[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
	return err
}

// pair returns our own certificate.
func (f *Files) pair() (tls.Certificate, error) {
	cert, err := read(f.Cert)
	if err != nil {
		return tls.Certificate{}, err
	}
	name, key := f.Cert, cert
	if f.Key != "" {
		name = f.Key
		if key, err = read(f.Key); err != nil {
			return tls.Certificate{}, err
		}
	}
	if key, err = decrypted(key, f.Password); err != nil {
		return tls.Certificate{}, fmt.Errorf("%s: %w", name, err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s: %w", name, err)
	}
	return pair, nil
}

// decrypted returns what is in a file with its keys decrypted.
func decrypted(text []byte, password string) ([]byte, error) {
	var all []byte
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "ENCRYPTED PRIVATE KEY" {
			key, err := decryptPKCS8(block.Bytes, password)
			if err != nil {
				return nil, err
			}
			block = &pem.Block{Type: "PRIVATE KEY", Bytes: key}
		} else if block.Headers["DEK-Info"] != "" {
			return nil, errEncryption
		}
		all = append(all, pem.EncodeToMemory(block)...)
	}
	return all, nil
}

// read returns what is in a file.
func read(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: want at most %d octets", path, maxFile)
	}
	return text, nil
}
