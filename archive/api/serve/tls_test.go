package serve

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"owl/internal/testserver"
)

// TestTLS: a certificate that was renewed is in force without a restart, and one
// that is broken is not.
func TestTLS(t *testing.T) {
	a := testserver.NewAuthority(t)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write := func(path string, text []byte) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	renew := func() {
		c, k := a.Sign(t, "127.0.0.1")
		write(cert, c)
		write(key, k)
	}
	if _, err := LoadCertificate(cert, key); err == nil || !strings.Contains(err.Error(), cert) {
		t.Errorf("no file: %v", err)
	}
	renew()
	c, err := LoadCertificate(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	addr := listening(t, server(t, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		part := make([]byte, 64<<10)
		for range 16 {
			w.Write(part)
		}
		fmt.Fprint(w, n, err)
	}, Options{Certificate: c}))
	// serial returns the number of the certificate that is in force, after much has
	// come and gone by HTTP/2.
	serial := func() string {
		t.Helper()
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.Pool()}, ForceAttemptHTTP2: true, DisableKeepAlives: true}
		resp, err := (&http.Client{Transport: tr}).Post("https://"+addr+"/esmond/", "application/json", strings.NewReader(strings.Repeat("x", 3<<20)))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, err := io.ReadAll(resp.Body); err != nil || len(body) < 1<<20 || string(body[1<<20:]) != "3145728 <nil>" || resp.ProtoMajor != 2 {
			body = body[max(len(body)-20, 0):]
			t.Errorf("%s %q, %v", resp.Proto, body, err)
		}
		return resp.TLS.PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	renew()
	if got := serial(); got != first {
		t.Errorf("certificate %s is in force before it is read, want %s", got, first)
	}
	if err := c.Reload(); err != nil {
		t.Fatal(err)
	}
	second := serial()
	if second == first {
		t.Errorf("certificate %s stays in force", first)
	}
	write(cert, []byte("nothing"))
	if err := c.Reload(); err == nil || serial() != second {
		t.Errorf("a broken file: %v, certificate %s in force, want %s", err, serial(), second)
	}

	resp, err := http.Get("http://" + addr + "/esmond/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "HTTPS") {
		t.Errorf("without TLS: %d %s, %v", resp.StatusCode, body, err)
	}
	_, err = tls.Dial("tcp", addr, &tls.Config{RootCAs: a.Pool(), ServerName: "127.0.0.1", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err == nil {
		t.Error("TLS 1.1 is taken")
	}
}
