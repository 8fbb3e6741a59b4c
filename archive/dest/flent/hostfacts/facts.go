// Package hostfacts finds out what data files of Flent say of hosts beside what was
// measured: the kernel, its settings for networks, the interface that leads to the
// other end, and what is queued there. Of this host it asks the kernel, of others a
// shell there, which ssh leads to.
//
// The members are those of Flent's metadata, in its shape. What a host cannot say
// is null, or not there.
package hostfacts

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"
)

// A Request says what is to be found out.
type Request struct {
	// Target is the other end: the way out of a host is the one to there. Not
	// valid: nothing is said of it.
	Target netip.Addr
	// Extended says that addresses are told, too: those of interfaces, of gateways,
	// of the next hop.
	Extended bool
	// Remotes are the hosts that are asked as well, as ssh knows them. That is
	// Extended.
	Remotes []string
	// SSH is the program that leads there, and what stands before the name of the
	// host; nil: ssh, as its user has it configured.
	SSH []string
}

// ErrorsName is the member that has, as texts, what could not be found out.
const ErrorsName = "OWAMP_METADATA_ERRORS"

// remoteTimeout is for all remote hosts together, which are asked at once.
const remoteTimeout = 30 * time.Second

// Gather returns what was found out, as members of the metadata. It fails for
// nothing: what went wrong is told in the member [ErrorsName].
func Gather(ctx context.Context, r Request) map[string]any {
	extended := r.Extended || len(r.Remotes) > 0
	here := local(ctx, r.Target, extended)
	m := here.metadata(extended)
	remote := make(map[string]any)
	m["REMOTE_METADATA"] = remote
	ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	var source netip.Addr
	if here.egress != nil {
		source, _ = netip.ParseAddr(here.egress.source)
	}
	found := make([]*host, len(r.Remotes))
	errs := make([]error, len(r.Remotes))
	var asking sync.WaitGroup
	for i, name := range r.Remotes {
		asking.Go(func() { found[i], errs[i] = askRemote(ctx, r.SSH, name, r.Target, source) })
	}
	asking.Wait()
	var failed []string
	for i, name := range r.Remotes {
		if errs[i] != nil {
			failed = append(failed, fmt.Sprintf("%s: %v", name, errs[i]))
			remote[name] = nil
			continue
		}
		about := found[i].metadata(true)
		about["LOCAL_HOST"] = nullable(found[i].name)
		about["INGRESS_INFO"] = found[i].ingress.metadata(true)
		remote[name] = about
	}
	if failed != nil {
		m[ErrorsName] = failed
	}
	return m
}

// Finish notes in the metadata of [Gather] what has gone through the queues of this
// host since.
func Finish(metadata map[string]any) {
	way, _ := metadata["EGRESS_INFO"].(map[string]any)
	if name, ok := way["iface"].(string); ok {
		way["tc_stats_post"] = orNull(queueStatistics(name))
	}
}

// A host is what one host says.
type host struct {
	name            string
	kernel, release string
	modules         map[string]string // build IDs
	sysctls         map[string]any
	addrs           map[string][]string // by interface
	gateways        []gateway
	wifi            map[string]any
	egress          *way // to the target
	ingress         *way // to the host that has measured
}

type gateway struct {
	IP        string `json:"ip"`
	Interface string `json:"iface"`
}

// metadata returns the members.
func (h *host) metadata(extended bool) map[string]any {
	m := map[string]any{
		"KERNEL_NAME":     nullable(h.kernel),
		"KERNEL_RELEASE":  nullable(h.release),
		"MODULE_VERSIONS": map[string]string{},
		"SYSCTLS":         map[string]any{},
		"EGRESS_INFO":     h.egress.metadata(extended),
	}
	if h.modules != nil {
		m["MODULE_VERSIONS"] = h.modules
	}
	if h.sysctls != nil {
		m["SYSCTLS"] = h.sysctls
	}
	if extended {
		maps.Copy(m, map[string]any{
			"IP_ADDRS":  orNull(h.addrs),
			"GATEWAYS":  orEmpty(h.gateways),
			"WIFI_DATA": map[string]any{},
		})
		if h.wifi != nil {
			m["WIFI_DATA"] = h.wifi
		}
	}
	return m
}

// A way is the interface that leads to an address.
type way struct {
	iface, source, nextHop, target string
	qdiscs, classes                []queue
	statistics                     []string
	offloads                       map[string]bool
	bql                            map[string]string
	driver                         string
	qlen, ether, speed, duplex     string
}

// A queue is a queueing discipline, or a class of one.
type queue struct {
	Name   string            `json:"name"`
	ID     string            `json:"id"`
	Parent string            `json:"parent"` // root, or the ID of what it belongs to
	Params map[string]string `json:"params"`
}

// metadata returns the members; null where there is no way.
func (w *way) metadata(extended bool) any {
	if w == nil {
		return nil
	}
	link := make(map[string]any)
	for name, value := range map[string]string{"qlen": w.qlen, "speed": w.speed, "duplex": w.duplex} {
		if value != "" {
			link[name] = value
		}
	}
	if extended && w.ether != "" {
		link["ether"] = w.ether
	}
	m := map[string]any{
		"iface":         w.iface,
		"qdiscs":        orNull(w.qdiscs),
		"classes":       orNull(w.classes),
		"tc_stats_pre":  orNull(w.statistics),
		"tc_stats_post": orNull(w.statistics),
		"offloads":      orNull(w.offloads),
		"bql":           orNull(w.bql),
		"driver":        nullable(w.driver),
		"link_params":   link,
	}
	if extended {
		m["src"], m["nexthop"], m["target"] = nullable(w.source), nullable(w.nextHop), w.target
	}
	return m
}

// nullable returns s, or null in place of nothing.
func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// orNull returns v, or null in place of an empty list or object.
func orNull[T []queue | []string | map[string]bool | map[string]string | map[string][]string](v T) any {
	if len(v) == 0 {
		return nil
	}
	return v
}

func orEmpty(g []gateway) []gateway { return append([]gateway{}, g...) }

// The settings of the kernel that Flent records.
var sysctls = []string{
	"net.core.rmem_max", "net.core.wmem_max", "net.ipv4.tcp_allowed_congestion_control", "net.ipv4.tcp_autocorking",
	"net.ipv4.tcp_available_congestion_control", "net.ipv4.tcp_congestion_control", "net.ipv4.tcp_dsack",
	"net.ipv4.tcp_early_retrans", "net.ipv4.tcp_ecn", "net.ipv4.tcp_fack", "net.ipv4.tcp_fastopen",
	"net.ipv4.tcp_limit_output_bytes", "net.ipv4.tcp_mem", "net.ipv4.tcp_moderate_rcvbuf", "net.ipv4.tcp_no_metrics_save",
	"net.ipv4.tcp_notsent_lowat", "net.ipv4.tcp_pacing_ca_ratio", "net.ipv4.tcp_pacing_ss_ratio", "net.ipv4.tcp_rmem",
	"net.ipv4.tcp_sack", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_timestamps", "net.ipv4.tcp_window_scaling",
	"net.ipv4.tcp_wmem",
}

// The modules of the kernel whose builds matter, as patterns of a shell.
var modules = []string{"sch_cake", "ath*", "mac80211", "cfg80211"}
