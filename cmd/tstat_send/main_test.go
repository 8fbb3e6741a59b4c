package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// golden is where the logs are that the original was tried with, and what it
// made of them.
const golden = "../../archive/tstat/testdata"

// A place is a directory with logs in w, and a config.
type place struct {
	dir string
	env map[string]string
}

// newPlace returns a place with the golden logs of a directory, or of all.
func newPlace(t testing.TB, config string, logs ...string) *place {
	t.Helper()
	p := &place{dir: t.TempDir()}
	if err := os.CopyFS(filepath.Join(p.dir, "w", filepath.Join(logs...)), os.DirFS(filepath.Join(golden, "tree", filepath.Join(logs...)))); err != nil {
		t.Fatal(err)
	}
	p.configure(t, config)
	return p
}

func (p *place) configure(t testing.TB, config string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, "c.ini"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// args returns a command line; w and c.ini in it are those of the place.
func (p *place) args(line string) []string {
	args := []string{"tstat_send"}
	for a := range strings.FieldsSeq(line) {
		if a == "c.ini" || a == "w" || strings.HasPrefix(a, "w/") {
			a = p.dir + "/" + a
		}
		args = append(args, a)
	}
	return args
}

// run runs the program.
func (p *place) run(t testing.TB, line string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	getenv := func(name string) (string, bool) { v, ok := p.env[name]; return v, ok }
	code = run(t.Context(), p.args(line), getenv, &out, &errs)
	return code, out.String(), strings.ReplaceAll(errs.String(), p.dir+"/", "")
}

// succeeds runs the program, which must succeed.
func (p *place) succeeds(t testing.TB, line string) (stdout, stderr string) {
	t.Helper()
	code, stdout, stderr := p.run(t, line)
	if code != ok {
		t.Fatalf("%s: exit code %d\n%s", line, code, stderr)
	}
	return stdout, stderr
}

// hidden returns the files of tstat_send's own.
func (p *place) hidden(t testing.TB) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(filepath.Join(p.dir, "w"), func(path string, e os.DirEntry, err error) error {
		if strings.HasPrefix(e.Name(), ".") {
			all = append(all, strings.TrimPrefix(path, p.dir+"/w/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

// ini returns a config, the one of the vectors with some keys changed: key=value,
// or a stanza [name] that the following are in, or -key for one that is missing.
func ini(changes ...string) string {
	keys := []string{"host", "port", "username", "password", "use_ssl", "vhost", "queue", "routing_key", "exchange"}
	values := map[string]string{
		"host": "127.0.0.1", "port": "5672", "username": "guest", "password": "sesame", "use_ssl": "False",
		"vhost": "/", "queue": "netsage_tstat", "routing_key": "netsage_tstat", "exchange": "",
	}
	rest := ""
	for _, c := range changes {
		key, value, _ := strings.Cut(c, "=")
		switch {
		case strings.HasPrefix(c, "[") || rest != "":
			rest += c + "\n"
		case strings.HasPrefix(c, "-"):
			delete(values, c[1:])
		default:
			values[key] = value
		}
	}
	text := "[rabbit]\n"
	for _, key := range keys {
		if v, ok := values[key]; ok {
			text += key + " = " + v + "\n"
		}
	}
	return text + rest
}

const small = "2016_02_17_12_53.out"

// TestRefused: what the original refuses, or crashes of: one line, an exit code,
// and nothing is marked.
func TestRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, args, config string
		code               int
		want               string
	}{
		{"01", "-c c.ini", ini(), 2, "error: the following arguments are required: -d/--directory"},
		{"02", "-d nope -c c.ini", ini(), 2, "error: nope directory path does not exist"},
		{"02 a file", "-d c.ini -c c.ini", ini(), 2, "error: c.ini directory path does not exist"},
		{"03", "-d w -c w/nope.ini", ini(), 2, "error: w/nope.ini config file does not exist"},
		{"04", "-d w -c c.ini -t carrier-pigeon", ini(), 2, "error: carrier-pigeon is not a valid transport type: want rabbit, bitbucket, "},
		{"05", "-d w -c c.ini -T 0.5", ini(), 2, "error: argument -T/--threshold: invalid int value: '0.5'"},
		{"07", "-d w -c c.ini --s", ini(), 2, "error: ambiguous option: --s could match --sensor, --single"},
		{"08", "-d w -c c.ini -N foo", ini(), 2, "error: unrecognized arguments: foo"},
		{"09 bits", "-d w -c c.ini -N --bits x", ini(), 2, "error: argument --bits: invalid int value: 'x'"},
		{"09 both", "-d w -c c.ini --bits 5 -T 1", ini(), 2, "error: argument --bits: not allowed with argument -T/--threshold"},
		{"format", "-d w -c c.ini --message-format 7", ini(), 2, `error: argument --message-format: "7": want 0.6.8, 0.6.5 or documented`},
		{"10", "-d w -c c.ini -N", "[other]\n", 1, "config c.ini: rabbit selected as transport, but there is no [rabbit] stanza"},
		{"11", "-d w -c c.ini -N", ini("-host"), 1, "config c.ini: [host] is a required config value for transport [rabbit]"},
		{"12", "-d w -c c.ini -N", ini("port=abc"), 1, `config c.ini: [rabbit] port: "abc" is not a valid integer: want one from 1 to 65535`},
		{"13", "-d w -c c.ini -N", ini("host=no-such-host.invalid"), 1, "config c.ini: no-such-host.invalid is not a valid hostname: lookup "},
		{"15 use_ssl", "-d w -c c.ini -N", ini("-use_ssl"), 1, "config c.ini: [use_ssl] is a required config value for transport [rabbit]"},
		{"15 exchange", "-d w -c c.ini -N", ini("-exchange"), 1, "config c.ini: [exchange] is a required config value for transport [rabbit]"},
		{"15 username", "-d w -c c.ini -N", ini("-username"), 1, "config c.ini: [username] is a required config value for transport [rabbit]"},
		{"15 vhost", "-d w -c c.ini -N", ini("-vhost"), 1, "config c.ini: [vhost] is a required config value for transport [rabbit]"},
		{"15 queue", "-d w -c c.ini -N", ini("-queue"), 1, "config c.ini: [queue] is a required config value for transport [rabbit]"},
		{"15 routing_key", "-d w -c c.ini -N", ini("-routing_key"), 1, "config c.ini: [routing_key] is a required config value for transport [rabbit]"},
		{"16", "-d w -c c.ini -N", "host = 127.0.0.1\n", 1, "config c.ini: line 1: want a stanza such as [rabbit] before the first key"},
		{"17", "-d w -c c.ini -N", ini() + "port = 1\n", 1, "config c.ini: line 11: the key port is there twice in its stanza"},
		{"18", "-d w -c c.ini -N", ini("use_ssl=maybe"), 1, `config c.ini: [rabbit] use_ssl: "maybe" is not a valid boolean: want yes or no`},
		{"19", "-d w -c c.ini -N", ini() + "lonely\n", 1, "config c.ini: line 11: want KEY = VALUE, or an indented line that continues one"},
		{"21 unset", "-d w -c c.ini -N", ini("password=${NOBODY}"), 1, "config c.ini: [rabbit] password: the environment has no NOBODY, and there is no other value"},
		{"30", "-d w -c c.ini", ini("port=1"), 1, "failed to connect to 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused"},
		{"38", "-d w -c c.ini -N", ini("[rabbit_queue_options]", "arguments = {x}"), 1, `config c.ini: [rabbit_queue_options] arguments: want an object in JSON, such as {"x-max-length": 1000}`},
		{"38 more", "-d w -c c.ini -N", ini("[rabbit_queue_options]", `arguments = {"x": 1}}`), 1, `config c.ini: [rabbit_queue_options] arguments: want an object in JSON, such as {"x-max-length": 1000}`},
		{"39", "-d w -c c.ini -N", ini("[rabbit_queue_options]", "colour = blue"), 1, "config c.ini: [rabbit_queue_options] colour: is unknown: want one of passive, durable, exclusive, auto_delete, arguments"},
		{"41 unknown", "-d w -c c.ini -N", ini("use_ssl=yes", "[ssl_options]", "ciphers = HIGH"), 1, "config c.ini: [ssl_options] ciphers: is unknown: want one of ca_certs, certfile, keyfile, server_hostname, cert_reqs"},
		{"transport", "-d w -c c.ini -N -t http", ini(), 1, "config c.ini: http selected as transport, but there is no [http] stanza"},
		{"transport data", "-d w -c c.ini -N -t http", "[http]\nops = x\n_url = http://u:sesame@127.0.0.1/\n", 1, "config c.ini: [http] /data/ops: is unknown: want one of "},
		{"transport spec", "-d w -c c.ini -N -t http", "[http]\nspec = {\"archiver\": \"tcp\", \"data\": {}}\n", 1, `config c.ini: [http] spec: /archiver: "tcp": want "http"`},
		{"transport flent", "-d w -c c.ini -N -t flent", "[flent]\ndir = x\n", 1, "config c.ini: [flent] /output-raw: it wants packets, which logs of flows do not have"},
		{"transport ttl", "-d w -c c.ini -N -t http", "[http]\nspec = {\"archiver\": \"http\", \"ttl\": \"PT1H\", \"data\": {}}\n", 1, "config c.ini: [http] /ttl: want none: what was not delivered stays in its log"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t, c.config, small)
			code, stdout, stderr := p.run(t, c.args)
			if code != c.code || stdout != "" {
				t.Errorf("exit code %d, want %d\n%s", code, c.code, stdout)
			}
			if !strings.HasPrefix(stderr, "tstat_send: "+c.want) || strings.Count(stderr, "\n") != 1 || strings.Contains(stderr, "sesame") {
				t.Errorf("%q, want %q", stderr, c.want)
			}
			if marks := p.hidden(t); marks != "" {
				t.Errorf("there is %s", marks)
			}
		})
	}
}

// TestDump: messages on standard output, of which much can be said in many ways.
func TestDump(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args, config, golden string
		marks                string
	}{
		{"-c c.ini --dir w --thr 1000 --no-t --sen sensor.example", ini(), "T1000", small + "/.processed"},
		{"-d w/" + small + " -c c.ini -NSsensor.example", ini("password=${PW:x}", "host=${HOST}"), "T1000", small + "/.processed"},
		{"-d w -c c.ini -sNSsensor.example -T=1000", ini("-port", "-host") + "[DEFAULT]\nport: 5671\nhost: ::1\n", "T1000", small + "/.processed"},
		{"-d w/" + small + "/ -c c.ini -N -T0", ini(), "", ""},
		{"-d w -c c.ini -N --bits 99999999999999999999", ini("[ssl_options]", "x = y"), "", small + "/.processed"},
		{"-d w -c c.ini -N --sensor=sensor.example --bits 8000000000 --message-format 0.6.5", ini(), "T1000-0.6.5", small + "/.processed"},
	} {
		p := newPlace(t, c.config, small)
		p.env = map[string]string{"HOST": "localhost"}
		stdout, stderr := p.succeeds(t, c.args)
		if strings.Contains(stderr, "sesame") {
			t.Error(stderr)
		}
		want := ""
		if c.golden != "" {
			text, err := os.ReadFile(filepath.Join(golden, c.golden+".txt"))
			if err != nil {
				t.Fatal(err)
			}
			want = string(text)
		}
		if c.golden == "" && stdout != "" || c.golden != "" && (stdout == "" || !strings.Contains(want, stdout)) {
			t.Errorf("%s: the original does not print\n%.2000s", c.args, stdout)
		}
		if marks := p.hidden(t); marks != c.marks {
			t.Errorf("%s: there is %q, want %q", c.args, marks, c.marks)
		}
	}
}

// -v tells of the config, without its secrets.
func TestVerbose(t *testing.T) {
	t.Parallel()
	p := newPlace(t, ini("[http]", "_url = http://sesame/", "bind = here", "spec = {sesame}", `headers = {"Authorization": "sesame"}`,
		"[esmond]", "url = https://me:sesame@there/", `transform = {"_key": "sesame"}`), small)
	_, stderr := p.succeeds(t, "-d w -c c.ini -N -v")
	for _, want := range []string{"rabbit.password=***", "rabbit.username=guest", "http._url=***", "http.bind=here", "http.headers=***", "http.spec=***", "esmond.url=***", "confirmed flows=4"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("there is no %s in\n%s", want, stderr)
		}
	}
	if strings.Contains(stderr, "sesame") {
		t.Errorf("a secret in\n%s", stderr)
	}
}

// Help and version are asked for without all else.
func TestAsked(t *testing.T) {
	t.Parallel()
	p := newPlace(t, ini(), small)
	if stdout, _ := p.succeeds(t, "-h -d"); stdout != program.Usage {
		t.Error(stdout)
	}
	if stdout, _ := p.succeeds(t, "--version"); !strings.HasPrefix(stdout, "tstat_send (Owl) ") {
		t.Error(stdout)
	}
}

// A message is one as the vectors have it.
type message struct {
	Exchange   string         `json:"exchange"`
	RoutingKey string         `json:"routing_key"`
	Properties map[string]any `json:"properties"`
	Body       string         `json:"body"`
}

// messages returns what the original sent of the golden logs, by its body.
func messages(t testing.TB) map[string]message {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(golden, "messages.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []message
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	byBody := make(map[string]message)
	for _, m := range all {
		byBody[m.Body] = m
	}
	if len(byBody) != 3 {
		t.Fatal(fmt.Errorf("%d messages", len(byBody)))
	}
	return byBody
}
