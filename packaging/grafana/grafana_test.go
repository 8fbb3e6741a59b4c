package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"owl/archive/api/ui"
	"owl/archive/series"
	"owl/archive/store"
)

var all = []dashboard{streams, host, archive, pairs}

// TestDashboardsAreCurrent: what is to be imported is what the tables say.
func TestDashboardsAreCurrent(t *testing.T) {
	want := files()
	names, err := filepath.Glob("*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(strings.Split(string(want[name]), "\n"), strings.Split(string(text), "\n")); d != "" {
			t.Errorf("%s is stale: go run ./packaging/grafana makes it anew (-as it would be +as it is)\n%s", name, d)
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("%s is missing: go run ./packaging/grafana makes it", name)
	}
}

// TestModel: what Grafana wants of a dashboard is there: panels that have numbers of
// their own, and places that do not overlap; queries by the data source that is
// chosen; and no variable that is not there.
func TestModel(t *testing.T) {
	for _, d := range all {
		text := files()[d.file]
		var m struct {
			UID, Title    string
			SchemaVersion int
			Templating    struct{ List []struct{ Name, Type string } }
			Panels        []struct {
				ID          int
				Type, Title string
				GridPos     struct{ X, Y, W, H int }
				Datasource  struct{ Type, UID string }
				Targets     []struct {
					RefID      string
					Datasource struct{ Type, UID string }
				}
			}
		}
		if err := json.Unmarshal(text, &m); err != nil {
			t.Fatal(err)
		}
		if m.UID == "" || len(m.UID) > 40 || m.Title == "" || m.SchemaVersion == 0 {
			t.Errorf("%s: %q %q, schema %d", d.file, m.UID, m.Title, m.SchemaVersion)
		}
		known := []string{"__from", "__to", "__rate_interval", "__range", "__all"}
		for _, v := range m.Templating.List {
			known = append(known, v.Name)
		}
		for _, used := range regexp.MustCompile(`\$\{?(\w+)`).FindAllStringSubmatch(string(text), -1) {
			if !slices.Contains(known, used[1]) {
				t.Errorf("%s: there is no variable %s", d.file, used[0])
			}
		}
		ids, taken := make(map[int]bool), make(map[[2]int]string)
		for _, p := range m.Panels {
			if ids[p.ID] {
				t.Errorf("%s: two panels are number %d", d.file, p.ID)
			}
			ids[p.ID] = true
			for x := range p.GridPos.W {
				for y := range p.GridPos.H {
					at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
					if taken[at] != "" || at[0] >= 24 {
						t.Errorf("%s: %q is over %q, or beyond the edge", d.file, p.Title, taken[at])
					}
					taken[at] = p.Title
				}
			}
			if p.Type == "row" {
				continue
			}
			if len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
				t.Errorf("%s: %q asks nothing, or a data source of its own: %+v", d.file, p.Title, p)
			}
			for _, q := range p.Targets {
				if q.RefID == "" || q.Datasource != p.Datasource {
					t.Errorf("%s: %q: %+v", d.file, p.Title, q)
				}
			}
		}
	}
}

// queries returns what the dashboards ask Prometheus for, those of variables
// included.
func queries() map[string][]string {
	found := make(map[string][]string)
	for _, d := range all {
		if d.source != "prometheus" {
			continue
		}
		for _, v := range d.variables {
			q := strings.TrimPrefix(v.query, "label_values(")
			found[d.file] = append(found[d.file], q[:strings.LastIndex(q, ",")])
		}
		for _, r := range d.rows {
			for _, p := range r.panels {
				for _, q := range p.questions {
					found[d.file] = append(found[d.file], q.query)
				}
			}
		}
	}
	return found
}

// TestMetricsAreThere: each metric that is asked for is one that Owl has, with the
// labels that it is asked for.
func TestMetricsAreThere(t *testing.T) {
	page, err := os.ReadFile("../man/man7/owamp-metrics.7")
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]string) // the kinds
	labels := make(map[string][]string)
	word := regexp.MustCompile(`\w+`)
	for _, m := range regexp.MustCompile(`(?m)^\.It Ic (\w+) (?:Ns Bro Cm (.*?) Brc )?Pq (\w+)$`).FindAllStringSubmatch(string(page), -1) {
		known[m[1]] = m[3]
		labels[m[1]] = append(word.FindAllString(m[2], -1), "instance")
		if strings.HasPrefix(m[1], "owamp_") { // which are of a stream
			labels[m[1]] = append(labels[m[1]], "stream", "source", "destination", "direction")
		}
		if m[3] == "summary" {
			labels[m[1]] = append(labels[m[1]], "quantile")
		}
	}
	metric := regexp.MustCompile(`\b(owamp|owl)_\w+`)
	asked := make(map[string]bool)
	for file, all := range queries() {
		for _, q := range all {
			for _, name := range metric.FindAllString(q, -1) {
				base := strings.TrimSuffix(name, "_bucket")
				asked[base] = true
				switch kind := known[base]; {
				case kind == "":
					t.Errorf("%s: there is no metric %s", file, name)
				case (base != name) != (kind == "histogram"):
					t.Errorf("%s: %s is a %s", file, name, kind)
				case strings.HasSuffix(name, "_total") && !strings.Contains(q, "rate(") && !strings.Contains(q, "increase(") && name != "owl_store_panics_total" && name != q[:min(len(q), len(name))]:
					t.Errorf("%s: %s: want the rate of a counter", file, q)
				}
			}
		}
	}
	selector := regexp.MustCompile(`\b((?:owamp|owl)_\w+)\{(.*?)\}`)
	matched := regexp.MustCompile(`(\w+)=`)
	for file, all := range queries() {
		for _, q := range all {
			for _, m := range selector.FindAllStringSubmatch(q, -1) {
				for _, label := range matched.FindAllStringSubmatch(m[2], -1) {
					if name := strings.TrimSuffix(m[1], "_bucket"); !slices.Contains(labels[name], label[1]) {
						t.Errorf("%s: %s has no label %s but %v", file, name, label[1], labels[name])
					}
				}
			}
		}
	}
	for name := range known {
		if strings.HasPrefix(name, "owl_store_") && !asked[name] {
			t.Errorf("no dashboard has %s", name)
		}
	}
}

// TestQueries: Prometheus's own checker reads them.
func TestQueries(t *testing.T) {
	program, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("SKIPPED: promtool is not installed (Debian package prometheus)")
	}
	var b strings.Builder
	b.WriteString("groups:\n- name: dashboards\n  rules:\n")
	n := 0
	for _, all := range queries() {
		for _, q := range all {
			q = strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h").Replace(q)
			n++
			fmt.Fprintf(&b, "  - record: query:%d\n    expr: %q\n", n, q)
		}
	}
	path := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), program, "check", "rules", path).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestColumns: an archive answers what the dashboard of pairs asks it for, and has
// the columns.
func TestColumns(t *testing.T) {
	st, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "archive.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	m, err := series.ParseMetadata([]byte(`{"subject-type":"point-to-point","source":"192.0.2.1","destination":"192.0.2.2","measurement-agent":"192.0.2.1",
"tool-name":"powstream","input-source":"rome","input-destination":"oslo","event-types":[{"event-type":"packet-count-sent"},{"event-type":"histogram-owdelay"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Register(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	page := ui.New(st, ui.Options{})
	fill := strings.NewReplacer("$source", "192.0.2.1", "$destination", "192.0.2.2", "${__from:date:seconds}", "1000000000", "${__to:date:seconds}", "1000003600")
	for _, r := range pairs.rows {
		for _, p := range r.panels {
			for _, q := range p.questions {
				w := httptest.NewRecorder()
				page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, fill.Replace(q.query), nil))
				header, err := csv.NewReader(w.Body).Read()
				if w.Code != http.StatusOK || err != nil || header[0] != "time" || !slices.Contains(header, q.column) {
					t.Errorf("%s: %d %v, %v; want a column %s", q.query, w.Code, header, err, q.column)
				}
			}
		}
	}
}
