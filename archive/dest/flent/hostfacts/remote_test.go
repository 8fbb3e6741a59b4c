package hostfacts

import (
	"context"
	"encoding/json"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"owl/internal/testserver"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// decoded returns metadata as a reader of the file has them.
func decoded(t *testing.T, m map[string]any) map[string]any {
	t.Helper()
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var d map[string]any
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestRemote: what a host says of itself by ssh is what it says here, for it is
// the same one.
func TestRemote(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: the kernel is asked on Linux alone")
	}
	s := testserver.StartSSHD(t)
	m := decoded(t, Gather(t.Context(), Request{
		Target: loopback, Remotes: []string{"router", "stranger", "nowhere.invalid"},
		SSH: []string{"ssh", "-F", s.Config},
	}))
	failed, _ := m[ErrorsName].([]any)
	if len(failed) != 2 || !strings.Contains(failed[0].(string), "stranger: exit status 255: ") || !strings.Contains(failed[0].(string), "Permission denied") ||
		!strings.Contains(failed[1].(string), "nowhere.invalid: exit status 255: ") {
		t.Errorf("errors: %v", failed)
	}
	remotes := m["REMOTE_METADATA"].(map[string]any)
	if len(remotes) != 3 || remotes["stranger"] != nil || remotes["nowhere.invalid"] != nil {
		t.Errorf("remote metadata: %v", remotes)
	}
	router, ok := remotes["router"].(map[string]any)
	if !ok {
		t.Fatalf("nothing is known of router: %v", m)
	}
	for _, name := range []string{"KERNEL_NAME", "KERNEL_RELEASE", "SYSCTLS", "MODULE_VERSIONS", "GATEWAYS", "WIFI_DATA"} {
		if d := cmp.Diff(m[name], router[name]); d != "" {
			t.Errorf("%s (-here +there):\n%s", name, d)
		}
	}
	if name, err := os.Hostname(); err != nil || router["LOCAL_HOST"] != name {
		t.Errorf("its name is %v, want %q", router["LOCAL_HOST"], name)
	}
	here, there, back := m["EGRESS_INFO"].(map[string]any), router["EGRESS_INFO"].(map[string]any), router["INGRESS_INFO"].(map[string]any)
	for _, name := range []string{"iface", "src", "nexthop", "target", "qdiscs", "classes", "driver", "bql", "link_params"} {
		if d := cmp.Diff(here[name], there[name]); d != "" {
			t.Errorf("EGRESS_INFO %s (-here +there):\n%s", name, d)
		}
		if d := cmp.Diff(there[name], back[name]); d != "" {
			t.Errorf("%s (-EGRESS_INFO +INGRESS_INFO):\n%s", name, d)
		}
	}
	if here["iface"] != "lo" || here["src"] != "127.0.0.1" {
		t.Errorf("EGRESS_INFO %v", here)
	}
	if stats, _ := there["tc_stats_pre"].([]any); len(stats) != 1 || !strings.HasPrefix(stats[0].(string), "qdisc noqueue 0: root") || !strings.Contains(stats[0].(string), "\n backlog ") {
		t.Errorf("statistics of queues there: %q", there["tc_stats_pre"])
	}
}

// TestRemoteRefused: a host that says too much, nothing, or never ends costs one
// line.
func TestRemoteRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ script, want string }{
		"too much": {"exec yes", "answers with more than 1048576 octets"},
		"nothing":  {"exit 0", "the answer ends too early: is there a POSIX shell?"},
		"banner":   {"echo welcome >&2; echo 'Host key verification failed.' >&2; exit 255", "exit status 255: Host key verification failed."},
		"half":     {"echo '@@ owl hostname'; echo router; kill -KILL $$", "signal: killed"},
		"no end":   {"exec sleep 1000", "no answer: context deadline exceeded"},
	} {
		patience := time.Minute
		if name == "no end" {
			patience = 100 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := askRemote(ctx, []string{"sh", "-c", c.script, "ssh"}, "host", loopback, netip.Addr{})
		cancel()
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if _, err := askRemote(t.Context(), []string{t.TempDir() + "/none"}, "host", loopback, netip.Addr{}); err == nil {
		t.Error("there is no ssh, and no error")
	}
}

// TestManyLines: an answer of nothing but short lines takes no time.
func TestManyLines(t *testing.T) {
	t.Parallel()
	text := mark + "egress-route\nx dev out0\n" + mark + "egress-qdiscs\nqdisc x 1: root\n" + strings.Repeat(" x\n", maxOutput/3) + mark + "end\n"
	h, err := parseAnswer(text, loopback, netip.Addr{})
	if err != nil || len(h.egress.statistics) != 1 || len(h.egress.statistics[0]) != len("qdisc x 1: root")+maxOutput/3*3 {
		t.Errorf("%+v, %v", h, err)
	}
}
