package certs

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"owl/internal/testserver"
)

func write(t *testing.T, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// handshake connects a client to a server, and returns what the client sees of
// it.
func handshake(t *testing.T, client, server *tls.Config) error {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		conn.Write([]byte("welcome"))
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(conn, client)
	_, err = io.ReadFull(c, make([]byte, len("welcome")))
	conn.Close()
	<-ended
	return err
}

func TestServer(t *testing.T) {
	a, other := testserver.NewAuthority(t), testserver.NewAuthority(t)
	server := a.Server(t, "localhost")
	for _, c := range []struct {
		files Files
		name  string
		want  string // of the error; empty: none
	}{
		{Files{CA: a.File}, "localhost", ""},
		{Files{CA: a.File}, "elsewhere", "not elsewhere"},
		{Files{CA: a.File, AnyName: true}, "elsewhere", ""},
		{Files{CA: other.File}, "localhost", "unknown authority"},
		{Files{CA: other.File, AnyName: true}, "localhost", "unknown authority"},
		{Files{}, "localhost", "unknown authority"},
		{Files{AnyName: true}, "localhost", "unknown authority"},
		{Files{AnyCert: true}, "elsewhere", ""},
	} {
		config, err := c.files.Config(c.name)
		if err != nil {
			t.Fatal(err)
		}
		err = handshake(t, config, server)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v, %s: %v, want %q", c.files, c.name, err, c.want)
		}
	}
}

func TestClient(t *testing.T) {
	a := testserver.NewAuthority(t)
	server := a.Server(t, "localhost")
	server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, a.Pool()
	cert, key := a.Sign(t, "owl")
	together := write(t, append(append([]byte{}, key...), cert...))
	for _, f := range []Files{
		{CA: a.File, Cert: write(t, cert), Key: write(t, key)},
		{CA: a.File, Cert: together},
	} {
		config, err := f.Config("localhost")
		if err != nil {
			t.Fatal(err)
		}
		if err := handshake(t, config, server); err != nil {
			t.Errorf("%+v: %v", f, err)
		}
	}
	config, err := (&Files{CA: a.File}).Config("localhost")
	if err != nil {
		t.Fatal(err)
	}
	if err := handshake(t, config, server); err == nil {
		t.Error("no error without a certificate")
	}
}

// The keys were made by
//
//	openssl ecparam -genkey -name prime256v1 -noout -out plain.key
//	openssl req -x509 -key plain.key -subj /CN=owl -days 36500 -out cert.pem
//	openssl pkcs8 -topk8 -in plain.key -passout pass:hunter2 -v2 aes256 -out aes256.key
//	openssl pkcs8 -topk8 -in plain.key -passout pass:hunter2 -v2 aes192 -v2prf hmacWithSHA512 -out aes192.key
//	openssl pkcs8 -topk8 -in plain.key -passout pass:hunter2 -v2 aes128 -v2prf hmacWithSHA1 -iter 5000 -out aes128.key
//	openssl pkcs8 -topk8 -in plain.key -passout pass:hunter2 -v2 des3 -out des3.key
//	openssl ec -in plain.key -passout pass:hunter2 -aes256 -out old.key
func TestEncryptedKey(t *testing.T) {
	for name, want := range map[string]string{
		"plain.key": "", "aes256.key": "", "aes192.key": "", "aes128.key": "", "des3.key": "openssl pkcs8", "old.key": "openssl pkcs8",
	} {
		for _, password := range []string{"hunter2", "hunter3"} {
			want := want
			if strings.HasPrefix(name, "aes") && password == "hunter3" {
				want = "another password"
			}
			f := Files{Cert: "testdata/cert.pem", Key: "testdata/" + name, Password: password}
			c, err := f.Config("localhost")
			switch {
			case want == "" && (err != nil || len(c.Certificates) != 1):
				t.Errorf("%s, %s: %v", name, password, err)
			case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), password)):
				t.Errorf("%s, %s: %v, want %q", name, password, err, want)
			}
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		files Files
		want  string
	}{
		{Files{CA: "/no/such/file"}, "no such file"},
		{Files{CA: "testdata/plain.key"}, "testdata/plain.key: want certificates"},
		{Files{Cert: "/no/such/file"}, "no such file"},
		{Files{Cert: "testdata/cert.pem"}, "testdata/cert.pem: tls: found a certificate rather than a key"},
		{Files{Cert: "testdata/cert.pem", Key: "/no/such/file"}, "no such file"},
		{Files{Key: "testdata/plain.key"}, "want a certificate"},
		{Files{CA: "/dev/zero"}, "at most"},
	} {
		if _, err := c.files.Config("x"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.files, err, c.want)
		}
	}
}

// FuzzDecryptPKCS8 finds out that nothing in a file is believed.
func FuzzDecryptPKCS8(f *testing.F) {
	for _, name := range []string{"aes256.key", "aes192.key", "aes128.key", "des3.key"} {
		text, err := os.ReadFile("testdata/" + name)
		if err != nil {
			f.Fatal(err)
		}
		block, _ := pem.Decode(text)
		f.Add(block.Bytes, "hunter2")
	}
	f.Fuzz(func(t *testing.T, der []byte, password string) {
		before := len(der)
		key, err := decryptPKCS8(der, password)
		if (key == nil) != (err != nil) && len(key) > 0 || len(key) > before {
			t.Errorf("%d octets, %v, of %d", len(key), err, before)
		}
	})
}
