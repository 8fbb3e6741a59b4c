package interop

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"owl/internal/testprog"
)

// A Prometheus scrapes powstream and owampd, and what it then knows is what they
// have measured: native histograms, and counters that add up.
func TestPrometheus(t *testing.T) {
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("SKIPPED: prometheus is not installed (Debian package prometheus)")
	}
	own, dir := owl(t), t.TempDir()
	server := testprog.Start(t, own.command("owampd", "-Z", "-f", "-d", dir, "-R", dir, "-S", "127.0.0.1:0", "--metrics", "127.0.0.1:0"))
	addr := find(t, server, server.Stderr, `listening on (\S+)\n`)
	client := testprog.Start(t, own.command("powstream", "-d", t.TempDir(), "-c", "50", "-i", "0.02", "-L", "0.5", "--metrics", "127.0.0.1:0", addr))

	const metrics = `metrics are at http://([^/]+)/metrics\n`
	file := filepath.Join(dir, "prometheus.yml")
	conf := fmt.Sprintf(`
global: {scrape_interval: 500ms, scrape_timeout: 500ms}
scrape_configs:
- job_name: powstream
  static_configs: [{targets: ['%s']}]
- job_name: owampd
  static_configs: [{targets: ['%s']}]
`, find(t, client, client.Stderr, metrics), find(t, server, server.Stderr, metrics))
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	prom := testprog.Start(t, exec.Command(program, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "tsdb"),
		"--web.listen-address=127.0.0.1:0", "--enable-feature=native-histograms"))
	api := "http://" + find(t, prom, prom.Stderr, `msg="Listening on" address=(\S+)\n`)

	// All of these come true in time, most of them with the first scrape.
	const received = `{job="powstream",source="127.0.0.1",direction="to"}`
	for _, q := range []struct {
		query string
		ok    func(v float64) bool
	}{
		{`sum(up)`, func(v float64) bool { return v == 2 }},
		{`histogram_count(owamp_one_way_delay_seconds` + received + `)`, func(v float64) bool { return v >= 100 }},
		{`histogram_quantile(0.5, owamp_one_way_delay_seconds` + received + `)`, func(v float64) bool { return v > 0 && v < 0.1 }},
		{`histogram_sum(owamp_one_way_delay_seconds` + received + `)`, func(v float64) bool { return v > 0 && v < 10 }},
		{`sum(owamp_packets_total` + received + `) % 50`, func(v float64) bool { return v == 0 }},
		{`owamp_packets_total{job="powstream",state="received"}`, func(v float64) bool { return v >= 50 }},
		{`sum(owamp_packets_total{job="powstream",state!="received"})`, func(v float64) bool { return v == 0 }},
		{`owamp_session_state{job="powstream",state="running"}`, func(v float64) bool { return v == 1 }},
		{`owamp_session_state{job="owampd",direction="from",state="running"}`, func(v float64) bool { return v == 1 }},
		{`owamp_send_slip_seconds{job="owampd",direction="from"}`, func(v float64) bool { return v >= 0 && v < 1 }},
		{`owamp_socket_drops_total{job="powstream"}`, func(v float64) bool { return v == 0 }},
		{`time() - owamp_last_packet_timestamp_seconds{job="powstream"}`, func(v float64) bool { return v < 60 }},
	} {
		testprog.Until(t, q.query, func() error {
			values, err := ask(api, q.query)
			switch {
			case err != nil:
				return err
			case len(values) != 1:
				return fmt.Errorf("%d values, want one", len(values))
			case !q.ok(values[0]):
				return fmt.Errorf("it is %v", values[0])
			}
			return nil
		})
	}
}

// find waits until what a process prints matches, and returns what the
// parentheses do.
func find(t *testing.T, p *testprog.Process, o *testprog.Output, pattern string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	return re.FindStringSubmatch(p.Await(t, o, pattern, re.MatchString))[1]
}

// ask returns the values of the instant vector that a Prometheus has for a
// query.
func ask(api, query string) ([]float64, error) {
	resp, err := http.Get(api + "/api/v1/query?query=" + url.QueryEscape(query))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var answer struct {
		Error string
		Data  struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("prometheus: %s", answer.Error)
	}
	var values []float64
	for _, r := range answer.Data.Result {
		s, _ := r.Value[1].(string)
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, nil
}
