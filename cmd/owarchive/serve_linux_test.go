package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"owl/internal/testprog"
	"owl/internal/testserver"
)

// An owarchive is one that runs.
type owarchive struct {
	*testprog.Process
	url string
}

// start starts an owarchive with more options, and waits until it serves.
func start(t *testing.T, store string, more ...string) *owarchive {
	t.Helper()
	return startProgram(t, "owarchive", store, more...)
}

// startProgram is start of the program at a path.
func startProgram(t *testing.T, path, store string, more ...string) *owarchive {
	t.Helper()
	args := append([]string{"--store", store, "--listen", "127.0.0.1:0"}, more...)
	a := &owarchive{Process: testprog.Start(t, exec.Command(path, args...))}
	at := regexp.MustCompile(`the archive .* is at (https?://\S+)/\n`)
	text := a.Await(t, a.Stderr, "its address", at.MatchString)
	a.url = at.FindStringSubmatch(text)[1]
	return a
}

// runs runs an owarchive that does not serve.
func runs(t *testing.T, args ...string) (stdout string) {
	t.Helper()
	p := testprog.Start(t, exec.Command("owarchive", args...))
	if code := p.ExitCode(t); code != 0 {
		t.Fatalf("%v: exit code %d", args, code)
	}
	return p.Stdout.String()
}

const measurement = `{"subject-type":"point-to-point","source":"192.0.2.1","destination":"192.0.2.2","measurement-agent":"192.0.2.1",
"tool-name":"powstream","input-source":"rome","input-destination":"oslo","event-types":[{"event-type":"packet-count-sent","summaries":[{"summary-type":"aggregation","summary-window":60}]}]}`

// send sends a request and returns the status and the body of its answer.
func send(t *testing.T, client *http.Client, method, url, authorization, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// register registers the measurement and returns its URL.
func (a *owarchive) register(t *testing.T, authorization string) string {
	t.Helper()
	code, body := send(t, http.DefaultClient, "POST", a.url+"/esmond/perfsonar/archive/", authorization, measurement)
	var m struct {
		URL string `json:"url"`
	}
	if err := json.Unmarshal([]byte(body), &m); err != nil || code != http.StatusCreated || m.URL == "" {
		t.Fatalf("%d %s, %v", code, body, err)
	}
	return m.URL
}

// TestServe: from nothing to a series that is read, by what a new user does; keys
// are made and revoked while it serves; what was written is there after a restart.
func TestServe(t *testing.T) {
	t.Parallel()
	store := filepath.Join(t.TempDir(), "archive.db")
	a := start(t, store, "--access-log", "-")
	a.AwaitText(t, a.Stderr, "nobody may write yet: owarchive --store "+store+" key add NAME makes a key\n", 1)
	archive := a.url + "/esmond/perfsonar/archive/"
	if code, body := send(t, http.DefaultClient, "POST", archive, "", measurement); code != http.StatusUnauthorized {
		t.Errorf("without a key: %d %s", code, body)
	}
	key := strings.TrimSpace(runs(t, "--store", store, "key", "add", "rome"))
	url := a.register(t, "Token "+key)
	const points = `{"data":[{"ts":1000000000,"val":[{"event-type":"packet-count-sent","val":600}]},{"ts":1000000030,"val":[{"event-type":"packet-count-sent","val":300}]}]}`
	if code, body := send(t, http.DefaultClient, "PUT", url, "Token "+key, points); code != http.StatusCreated || body != `""` {
		t.Errorf("points: %d %s", code, body)
	}
	// The older generation of clients, with the same key.
	if code, body := send(t, http.DefaultClient, "POST", url, "ApiKey rome:"+key, points); code != http.StatusOK || body != "" {
		t.Errorf("the same, as the REST guide has it: %d %s", code, body)
	}
	const want = `[{"ts":999999960,"val":600.0},{"ts":1000000020,"val":300.0}]`
	read := func(a *owarchive) {
		t.Helper()
		path := strings.TrimPrefix(url, archive)
		code, body := send(t, http.DefaultClient, "GET", a.url+"/perfsonar/archive/"+path+"packet-count-sent/aggregations/60?time-start=0&time-end=2000000000", "", "")
		if code != http.StatusOK || strings.Join(strings.Fields(body), "") != want {
			t.Errorf("%d %s, want %s", code, body, want)
		}
	}
	read(a)
	for path, want := range map[string]string{"/": "<!doctype html>", "/openapi.json": `"openapi"`, "/healthz": "ok\n", "/readyz": "ok\n"} {
		if code, body := send(t, http.DefaultClient, "GET", a.url+path, "", ""); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %.200s", path, code, body)
		}
	}
	text := testprog.Scrape(t, a.url+"/metrics")
	for _, want := range []string{
		"owl_store_points_written_total 2\n", "owl_store_measurements 1\n", `owl_store_writes_total{outcome="repeated"} 1` + "\n",
		`owl_store_requests_total{code="401",route="register"} 1` + "\n", "owl_build_info{",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q among the metrics", want)
		}
	}
	runs(t, "--store", store, "key", "revoke", "rome")
	testprog.Until(t, "the key to be worth nothing", func() error { // within 5 s, for it was just used
		if code, body := send(t, http.DefaultClient, "PUT", url, "Token "+key, points); code != http.StatusUnauthorized {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	if code := a.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if strings.Contains(a.Stderr.String(), key) {
		t.Errorf("the log tells the key")
	}
	b := start(t, store)
	read(b)
	b.Terminate(t)
	testprog.Promtool(t, text)
}

// TestImportRemote: what one archive has another takes in over its REST interface,
// with its keys; again, too.
func TestImportRemote(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	from := start(t, filepath.Join(dir, "from.db"), "--allow-write", "127.0.0.1")
	url := from.register(t, "")
	const points = `{"data":[{"ts":1000000020,"val":[{"event-type":"packet-count-sent","val":600}]},{"ts":1000000050,"val":[{"event-type":"packet-count-sent","val":300}]}]}`
	if code, body := send(t, http.DefaultClient, "PUT", url, "", points); code != http.StatusCreated {
		t.Fatalf("%d %s", code, body)
	}
	archive := from.url + "/esmond/perfsonar/archive/"
	to := filepath.Join(dir, "to.db")
	for _, want := range []string{"1 measurements; 2 values and 0 summaries are new", "1 measurements; 0 values and 0 summaries are new"} {
		if got := runs(t, "--store", to, "import", archive); got != archive+": "+want+"\n" {
			t.Errorf("%s, want %s", got, want)
		}
	}
	secret := strings.Replace(from.url, "http://", "http://u:sesame@", 1)
	if got := runs(t, "--store", to, "import", secret); strings.Contains(got, "sesame") {
		t.Errorf("the password is told: %s", got)
	}
	for path, why := range map[string]string{"/nowhere/": "404: ", "/?x=1": "want a URL such as "} {
		p := testprog.Start(t, exec.Command("owarchive", "--store", to, "import", secret+path))
		code := p.ExitCode(t)
		said := strings.Replace(p.Stderr.String(), "xxxxx", "sesame", 1)
		if want := "owarchive: " + secret + path + ": " + why; code != 1 || !strings.HasPrefix(said, want) || strings.Contains(p.Stderr.String()+p.Stdout.String(), "sesame") {
			t.Errorf("code %d, %s, want %s without the password", code, p.Stderr, want)
		}
	}
	if a, b := runs(t, "--store", to, "export"), runs(t, "--store", filepath.Join(dir, "from.db"), "export"); a != b {
		t.Errorf("what is exported has become\n%s\nwant\n%s", a, b)
	}
}

// TestImportHostile: what another archive says is not for the terminal to act upon.
func TestImportHostile(t *testing.T) {
	t.Parallel()
	hostile := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"detail": "\u001b[2Jgo\naway"}`)
	}))
	defer hostile.Close()
	p := testprog.Start(t, exec.Command("owarchive", "--store", filepath.Join(t.TempDir(), "archive.db"), "import", hostile.URL))
	want := "owarchive: " + hostile.URL + "/esmond/perfsonar/archive/: 403: ?[2Jgo?away\n"
	if code := p.ExitCode(t); code != 1 || p.Stderr.String() != want {
		t.Errorf("code %d, %q, want %q", code, p.Stderr, want)
	}
}

// TestReload: at SIGHUP certificate, retention and access log are taken up again;
// what is broken leaves what was in force.
func TestReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, text []byte) {
		t.Helper()
		if err := os.WriteFile(path(name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	authority := testserver.NewAuthority(t)
	certify := func() {
		cert, key := authority.Sign(t, "127.0.0.1")
		write("both.pem", append(cert, key...))
	}
	certify()
	write("rules", []byte("*/base=90d\n"))
	a := start(t, path("archive.db"), "--tls-cert", path("both.pem"), "--retention", "@"+path("rules"), "--access-log", path("log"))
	serial := func() string {
		t.Helper()
		conn, err := tls.Dial("tcp", strings.TrimPrefix(a.url, "https://"), &tls.Config{RootCAs: authority.Pool(), ServerName: "127.0.0.1"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	ask := func() {
		t.Helper()
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority.Pool()}, DisableKeepAlives: true}}
		if code, body := send(t, client, "GET", a.url+"/esmond/perfsonar/archive/", "", ""); code != http.StatusOK || body != "[]" {
			t.Errorf("%d %s", code, body)
		}
	}
	lines := func(name string, n int) {
		t.Helper()
		testprog.Until(t, fmt.Sprintf("%d lines in %s", n, name), func() error {
			text, err := os.ReadFile(path(name))
			if err == nil && bytes.Count(text, []byte("\n")) != n {
				err = fmt.Errorf("%s", text)
			}
			return err
		})
	}
	first := serial()
	ask()
	lines("log", 1)
	if err := os.Rename(path("log"), path("log.1")); err != nil {
		t.Fatal(err)
	}
	certify()
	write("rules", []byte("*/base=30d\n*=forever\n"))
	a.Signal(syscall.SIGHUP)
	for _, what := range []string{"the certificate", "the retention", "the access log"} {
		a.AwaitText(t, a.Stderr, "reloaded "+what+"\n", 1)
	}
	second := serial()
	if second == first {
		t.Error("the old certificate is in force")
	}
	ask()
	ask()
	lines("log", 2)
	lines("log.1", 1)

	write("both.pem", nil)
	write("rules", []byte("*/base=soon\n"))
	a.Signal(syscall.SIGHUP)
	a.AwaitText(t, a.Stderr, "not reloaded, what was in force stays: ", 2)
	a.AwaitText(t, a.Stderr, `retention "*/base=soon": `, 1)
	if got := serial(); got != second {
		t.Error("another certificate is in force")
	}
	if code := a.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestWhoMayWrite: networks that need no key, also behind a proxy, whose word alone
// counts.
func TestWhoMayWrite(t *testing.T) {
	t.Parallel()
	a := start(t, filepath.Join(t.TempDir(), "archive.db"), "--allow-write", "192.0.2.0/24", "--trust-proxy", "127.0.0.1")
	post := func(forwarded ...string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.url+"/esmond/perfsonar/archive/", strings.NewReader(measurement))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header["X-Forwarded-For"] = forwarded
		req.Header.Set("X-Forwarded-Proto", "https")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode, resp.Header.Get("Location")
	}
	for _, c := range []struct {
		forwarded []string
		code      int
	}{
		{nil, 401}, // the proxy itself
		{[]string{"192.0.2.7"}, 201},
		{[]string{"198.51.100.1, 192.0.2.7"}, 201},
		{[]string{"192.0.2.7, 198.51.100.1"}, 401}, // what the client said comes first
		{[]string{"192.0.2.7", "198.51.100.1"}, 401},
		{[]string{"192.0.2.7, 127.0.0.1"}, 201},
		{[]string{"192.0.2.7, nonsense"}, 401},
	} {
		code, location := post(c.forwarded...)
		if code != c.code || code == 201 && !strings.HasPrefix(location, "https://") {
			t.Errorf("%v: %d, %s; want %d", c.forwarded, code, location, c.code)
		}
	}
	if strings.Contains(a.Stderr.String(), "nobody may write") {
		t.Error("it says that nobody may write")
	}
	a.Terminate(t)
}

// TestPostgreSQL: the archive in a database, whose password nobody is told.
func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	db := testserver.StartPostgreSQL(t, nil)
	url := fmt.Sprintf("postgres://owl:%s@%s/postgres?sslmode=disable", testserver.Password, db.Address())
	a := start(t, url)
	key := strings.TrimSpace(runs(t, "--store", url, "key", "add", "rome"))
	a.register(t, "Token "+key)
	if got := runs(t, "--store", url, "check"); !strings.Contains(got, ": well. 1 measurements, ") || strings.Contains(got, testserver.Password) {
		t.Errorf("check says %s", got)
	}
	db.Stop(t)
	testprog.Until(t, "it to be known that the database is gone", func() error {
		if code, body := send(t, http.DefaultClient, "GET", a.url+"/readyz", "", ""); code != http.StatusServiceUnavailable {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	if code, body := send(t, http.DefaultClient, "GET", a.url+"/esmond/perfsonar/archive/", "", ""); code != http.StatusServiceUnavailable {
		t.Errorf("without a database: %d %s", code, body)
	}
	if code, _ := send(t, http.DefaultClient, "GET", a.url+"/healthz", "", ""); code != http.StatusOK {
		t.Errorf("its own health: %d", code)
	}
	db.Start(t, false)
	testprog.Until(t, "it to be known that the database is back", func() error {
		if code, body := send(t, http.DefaultClient, "GET", a.url+"/readyz", "", ""); code != http.StatusOK {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	if code, body := send(t, http.DefaultClient, "GET", a.url+"/esmond/perfsonar/archive/", "", ""); code != http.StatusOK || strings.Count(body, "metadata-key") != 1 {
		t.Errorf("with the database again: %d %s", code, body)
	}
	if code := a.Terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if text := a.Stderr.String(); strings.Contains(text, testserver.Password) {
		t.Errorf("the log tells the password:\n%s", text)
	}
}
