package agentfile_test

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/internal/agentfile"
	"owl/internal/cli"
	"owl/owamp"
	"owl/probe"
	"owl/probe/clock"
)

// stream is a stream of which nothing is said.
func stream(name string, d agentfile.Direction, peer string) agentfile.Stream {
	s := agentfile.Stream{
		Key:      agentfile.Key{Name: name, Direction: d},
		Local:    "here",
		Remote:   peer,
		Peer:     peer,
		Packets:  300,
		Interval: owamp.IntervalSeconds(0.1),
		Timeout:  owamp.IntervalSeconds(10),
		Retry:    owamp.IntervalSeconds(60),
		Bucket:   0.0001,
	}
	if d == agentfile.Send {
		s.EndDelay = owamp.IntervalSeconds(1)
	}
	return s
}

// parse reads text as the file f.yaml of the host here.
func parse(text string) (*agentfile.Config, error) {
	return agentfile.Parse("f.yaml", []byte(text), "here")
}

func TestEverything(t *testing.T) {
	c, err := parse(`
# The order of keys is up to who writes them.
streams:
  - name: paris
    peer: 192.0.2.1
  - name: rome
    peer: "[2001:db8::1]:8861"
    server: control.example.net
    direction: both
    packets: 600
    interval: 20ms
    schedule: periodic
    timeout: 2
    padding: 100
    dscp: EF
    end_delay: 3s
    retry: 1m
    dir: /data
    part: 60
    bucket: 1e-5
    unix_times: true
    output_raw: true
    ip_version: 6
    source: eth1
    device: eth0
    modes: AE
    user: me
    key_file: /etc/owl/me.pfs
    max_pbkdf2_count: 4096
    labels: {site: rome, tier: "1"}
defaults:
  labels: {owner: noc, site: none}
host: zurich
metrics: :9861
budget: 200
ports: 8760-8763
clock: {chrony: off, ntp: [192.0.2.7, "[2001:db8::7]:1123"], every: 2m}
run_as: owl:-997
engine: {pacing: precise, capture: raw, transmit: raw, pcap: file, warm: false}
server:
  listen: "127.0.0.1:861"
  data: /var/lib/owl
  modes: EO
  limits: /etc/owl/limits
  passphrases: /etc/owl/pfs
  ports: 9000-9010
archive:
  store: /var/lib/owl/archive.db
  listen: ":8861"
  tls_cert: /etc/owl/cert.pem
  tls_key: /etc/owl/key.pem
  retention: [histogram-owdelay/base=90d, "*=forever"]
  allow_write: [192.0.2.7/24, "2001:db8::1"]
  trust_proxy: 192.0.2.80
  cors: https://grafana.example.net
`)
	if err != nil {
		t.Fatal(err)
	}
	paris := stream("paris", agentfile.Receive, "192.0.2.1")
	paris.Local = "zurich"
	paris.Labels = map[string]string{"owner": "noc", "site": "none"}
	rome := agentfile.Stream{
		Key:       agentfile.Key{Name: "rome", Direction: agentfile.Receive},
		Local:     "zurich",
		Remote:    "2001:db8::1",
		Peer:      "[2001:db8::1]:8861",
		Server:    "control.example.net",
		Packets:   600,
		Interval:  owamp.IntervalSeconds(0.02),
		Periodic:  true,
		Timeout:   owamp.IntervalSeconds(2),
		Padding:   100,
		DSCP:      46,
		EndDelay:  owamp.IntervalSeconds(3),
		Retry:     owamp.IntervalSeconds(60),
		Dir:       "/data/rome/receive",
		Part:      60,
		Bucket:    1e-5,
		UnixTimes: true,
		Raw:       true,
		Labels:    map[string]string{"owner": "noc", "site": "rome", "tier": "1"},
		Client: cli.ClientOptions{
			Family: cli.IPv6, Modes: owamp.ModeAuthenticated | owamp.ModeEncrypted, User: "me",
			KeyFile: "/etc/owl/me.pfs", MaxCount: 4096, Source: "eth1", Device: "eth0",
		},
	}
	back := rome
	back.Direction, back.Dir = agentfile.Send, "/data/rome/send"
	want := &agentfile.Config{
		Host:    "zurich",
		Metrics: ":9861",
		Budget:  200,
		Ports:   probe.PortRange{Low: 8760, High: 8763},
		Clock:   clock.Sources{Chrony: clock.ChronyOff, NTP: []string{"192.0.2.7", "[2001:db8::7]:1123"}, Every: 2 * time.Minute},
		RunAs:   "owl:-997",
		Engine:  cli.EngineOptions{Pacing: probe.PacingPrecise, Cold: true, Transmit: probe.TransmitRaw, Capture: probe.CaptureRaw, Pcap: "file"},
		Server: &agentfile.Server{
			Listen: "127.0.0.1:861", Data: "/var/lib/owl", Modes: owamp.ModeEncrypted | owamp.ModeOpen,
			Limits: "/etc/owl/limits", Passphrases: "/etc/owl/pfs", Ports: probe.PortRange{Low: 9000, High: 9010},
		},
		Archive: &agentfile.MeasurementArchive{
			Line: 55, Store: "/var/lib/owl/archive.db", Listen: ":8861", TLSCert: "/etc/owl/cert.pem", TLSKey: "/etc/owl/key.pem",
			Retention:  []string{"histogram-owdelay/base=90d", "*=forever"},
			AllowWrite: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::1/128")},
			TrustProxy: []netip.Prefix{netip.MustParsePrefix("192.0.2.80/32")},
			CORS:       []string{"https://grafana.example.net"},
		},
		Streams: []agentfile.Stream{paris, rome, back},
	}
	if diff := cmp.Diff(want, c, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestEndDelay: a sender waits a second at the end unless it is told otherwise,
// also that it shall not.
func TestEndDelay(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"{name: s, peer: h, direction: send}":               time.Second,
		"{name: s, peer: h, direction: send, end_delay: 0}": 0,
		"{name: s, peer: h, direction: send, end_delay: 3}": 3 * time.Second,
		"{name: s, peer: h}":                                0,
	} {
		c, err := parse("streams: [" + text + "]\n")
		if err != nil || c.Streams[0].EndDelay.Duration() != want {
			t.Errorf("%s: %+v, %v; want %v", text, c, err, want)
		}
	}
	c, err := parse("defaults: {direction: send, end_delay: 0}\nstreams: [{name: s, peer: h}]\n")
	if err != nil || c.Streams[0].EndDelay != 0 {
		t.Errorf("by default: %+v, %v; want none", c, err)
	}
}

// TestGroups: all hosts have the same file, and together they measure each pair
// once in each direction.
func TestGroups(t *testing.T) {
	const file = `
groups:
  - name: mesh
    pairs: all
    members: {a: 192.0.2.1, b: 192.0.2.2, c: "192.0.2.3:8861"}
    interval: 1
  - name: star
    pairs: one-to-all
    centre: b
    members: {a: 192.0.2.1, b: 192.0.2.2}
`
	got := make(map[string][]string)
	for _, host := range []string{"a", "b", "c", "d"} {
		c, err := agentfile.Parse("f.yaml", []byte(file), host)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range c.Streams {
			from, to := s.Remote, s.Local
			if s.Direction == agentfile.Send {
				from, to = to, from
			}
			got[host] = append(got[host], fmt.Sprintf("%s %s->%s at %s", s.Name, from, to, s.Peer))
		}
		got[host] = append(got[host], c.Remarks...)
	}
	want := map[string][]string{
		"a": {"mesh/b b->a at 192.0.2.2", "mesh/c c->a at 192.0.2.3:8861", "group star: b measures, this host answers"},
		"b": {"mesh/a a->b at 192.0.2.1", "mesh/c c->b at 192.0.2.3:8861", "star/a a->b at 192.0.2.1", "star/a b->a at 192.0.2.1"},
		"c": {"mesh/a a->c at 192.0.2.1", "mesh/b b->c at 192.0.2.2",
			"group star: this host is called c, and is no member: it has no streams of the group (host: says how it is called)"},
		"d": {"group mesh: this host is called d, and is no member: it has no streams of the group (host: says how it is called)",
			"group star: this host is called d, and is no member: it has no streams of the group (host: says how it is called)"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestErrors: testdata has files with what is said of them.
func TestErrors(t *testing.T) {
	files, err := filepath.Glob("testdata/errors/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(strings.TrimSuffix(name, "yaml") + "txt")
			if err != nil {
				t.Fatal(err)
			}
			_, err = parse(string(text))
			if err == nil {
				t.Fatal("no error")
			}
			if diff := cmp.Diff(string(want), err.Error()+"\n"); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

// TestMeasurementArchive: an archive alone is something to do, it listens for this
// host unless it says otherwise, and that it has moved in the file changes nothing.
func TestMeasurementArchive(t *testing.T) {
	read := func(text string) *agentfile.MeasurementArchive {
		c, err := parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return c.Archive
	}
	a := read("archive: {store: x, retention: '*=1y'}\n")
	if a.Listen != "127.0.0.1:8861" || len(a.Retention) != 1 || a.Line != 1 {
		t.Errorf("%+v", a)
	}
	for text, want := range map[string]bool{
		"\narchive: {retention: ['*=1y'], store: x}\n": true,
		"archive: {store: x, retention: '*=2y'}\n":     false,
		"archive: {store: y, retention: '*=1y'}\n":     false,
		"streams: [{name: s, peer: h}]\n":              false,
	} {
		if got := a.Equal(read(text)); got != want {
			t.Errorf("%s: equal is %v, want %v", text, got, want)
		}
	}
	if !(*agentfile.MeasurementArchive)(nil).Equal(nil) {
		t.Error("two that there are not differ")
	}
}

// TestBudget: a budget holds what has just its rate, and not more.
func TestBudget(t *testing.T) {
	for rate, ok := range map[int]bool{999: true, 1000: true, 1001: false} {
		_, err := parse(fmt.Sprintf(`
budget: 1000
streams: [{name: a, peer: a, interval: 0.002}, {name: b, peer: b, interval: %v}]`, time.Second/time.Duration(rate-500)))
		if (err == nil) != ok {
			t.Errorf("%d packets/s in a budget of 1000: %v", rate, err)
		}
	}
}

// TestBounds: what is too much is refused, and what is wrong all over is not
// told for ever.
func TestBounds(t *testing.T) {
	var many strings.Builder
	many.WriteString("budget: 2000000\nstreams:\n")
	for i := range 20_001 {
		fmt.Fprintf(&many, "- {name: s%d, peer: h}\n", i)
	}
	wrong := "streams:\n" + strings.Repeat("- {}\n", 100)
	for _, test := range []struct{ name, text, want string }{
		{"streams", many.String(), "f.yaml:20003: stream s20000: want at most 20000 streams"},
		{"errors", wrong, "f.yaml: 150 more errors"},
		{"octets", strings.Repeat("#", 16<<20+1), "f.yaml: want at most 16777216 octets"},
		{"text", "host: " + strings.Repeat("x", 1025), "f.yaml:1: host: want at most 1024 octets"},
	} {
		_, err := parse(test.text)
		if err == nil {
			t.Errorf("%s: no error", test.name)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		if got := lines[len(lines)-1]; got != test.want || len(lines) > 51 {
			t.Errorf("%s: %d lines, at last %q, want %q", test.name, len(lines), got, test.want)
		}
	}
}

// FuzzParse: whatever a file has in it, each error has the file's name, and a
// file without one keeps to its bounds.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/errors/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("streams: [{name: a, peer: b, direction: both, interval: 1ms, labels: {x: y}}]")
	f.Add("archive: {store: /s, listen: :0, retention: [a=1d], allow_write: 192.0.2.0/24}")
	f.Add("groups: [{name: g, pairs: all, members: {here: a, there: b}}]\nserver: {data: /d}")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parse(text)
		if err != nil {
			for line := range strings.Lines(err.Error()) {
				if !strings.HasPrefix(line, "f.yaml:") {
					t.Errorf("%q does not name the file", line)
				}
			}
			return
		}
		sum := 0.0
		keys := make(map[agentfile.Key]bool)
		for _, s := range c.Streams {
			sum += s.Rate()
			if keys[s.Key] || s.Name == "" || s.Peer == "" || s.Packets == 0 || s.Interval == 0 || s.Timeout == 0 {
				t.Errorf("stream %+v", s)
			}
			keys[s.Key] = true
		}
		if sum > float64(c.Budget)*1.00001 {
			t.Errorf("%v packets/s in a budget of %d", sum, c.Budget)
		}
	})
}
