package hostfacts

import (
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
)

// What programs of hosts print, as far as it is wanted. What is not understood is
// left out.

// wordBehind returns the word behind the word name in a line; "" without one.
func wordBehind(words []string, name string) string {
	for i, w := range words[:max(len(words)-1, 0)] {
		if w == name {
			return words[i+1]
		}
	}
	return ""
}

// parseRoute reads what "ip route get" prints of the way to target.
func parseRoute(text, target string) *way {
	words := strings.Fields(text)
	w := &way{target: target, iface: wordBehind(words, "dev"), source: wordBehind(words, "src"), nextHop: wordBehind(words, "via")}
	if w.iface == "" {
		return nil
	}
	if w.nextHop == "inet6" { // of a route of IPv4
		w.nextHop = wordBehind(words, "inet6")
	}
	return w
}

// parseQueues reads what "tc qdisc show dev" or "tc class show dev" prints; kind is
// qdisc or class.
func parseQueues(text, kind string) []queue {
	var all []queue
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 3 || words[0] != kind || line[0] == ' ' {
			continue
		}
		q := queue{Name: words[1], ID: words[2], Params: make(map[string]string)}
		words = words[3:]
		if len(words) > 1 && words[0] == "dev" {
			words = words[2:]
		}
		switch {
		case len(words) > 0 && words[0] == "root":
			q.Parent, words = "root", words[1:]
		case len(words) > 1 && words[0] == "parent":
			q.Parent, words = words[1], words[2:]
		}
		for len(words) > 0 {
			name := words[0]
			n := 1
			for n < len(words) && isValue(words[n]) {
				n++
			}
			q.Params[name] = strings.Join(words[1:n], " ")
			words = words[n:]
		}
		all = append(all, q)
	}
	return all
}

// isValue reports whether a word that tc prints is the value of the one before.
func isValue(w string) bool { return w[0] >= '0' && w[0] <= '9' || w[0] == '-' || w == "unlimited" }

// parseStatistics reads what "tc -s qdisc show dev" prints: a text of several lines
// for each.
func parseStatistics(text string) []string {
	var all []string
	var lines []string // of one
	end := func() {
		if lines != nil {
			all = append(all, strings.TrimRight(strings.Join(lines, "\n"), " "))
		}
	}
	for line := range strings.Lines(text) {
		switch line = strings.TrimRight(line, "\n"); {
		case strings.HasPrefix(line, "qdisc "):
			end()
			lines = []string{line}
		case lines != nil && strings.TrimSpace(line) != "":
			lines = append(lines, line)
		}
	}
	end()
	return all
}

// offloadNames are those that Flent records, as ethtool calls them.
var offloadNames = []string{
	"tcp-segmentation-offload", "udp-fragmentation-offload", "large-receive-offload",
	"generic-segmentation-offload", "generic-receive-offload",
}

// parseOffloads reads what "ethtool -k" prints.
func parseOffloads(text string) map[string]bool {
	all := make(map[string]bool)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		for _, wanted := range offloadNames {
			if name == wanted {
				all[name] = strings.HasPrefix(value, "on")
			}
		}
	}
	return all
}

// parseAddrs reads what "ip -o addr show" prints.
func parseAddrs(text string) map[string][]string {
	all := make(map[string][]string)
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 4 || words[2] != "inet" && words[2] != "inet6" {
			continue
		}
		address, _, _ := strings.Cut(words[3], "/")
		if a, err := netip.ParseAddr(address); err == nil {
			all[words[1]] = append(all[words[1]], a.String())
		}
	}
	return all
}

// parseGateways reads what "ip route show default" prints.
func parseGateways(text string) []gateway {
	var all []gateway
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || words[0] != "default" {
			continue
		}
		if g := (gateway{wordBehind(words, "via"), wordBehind(words, "dev")}); g.IP != "" && g.Interface != "lo" {
			all = append(all, g)
		}
	}
	return all
}

// parseWifi reads what "iw dev" prints.
func parseWifi(text string) map[string]any {
	all := make(map[string]any)
	var about map[string]any
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch rest := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), words[0])); {
		case words[0] == "Interface":
			about = make(map[string]any)
			all[words[1]] = about
		case about == nil:
		case words[0] == "addr", words[0] == "ssid", words[0] == "type":
			about[words[0]] = rest
		case words[0] == "txpower":
			if v, err := strconv.ParseFloat(words[1], 64); err == nil {
				about["txpower"] = v
			}
		case words[0] == "channel":
			about["channel"] = parseChannel(rest)
		}
	}
	return all
}

// parseChannel reads "36 (5180 MHz), width: 80 MHz, center1: 5210 MHz".
func parseChannel(text string) map[string]any {
	channel := make(map[string]any)
	put := func(name, value string) {
		if n, err := strconv.Atoi(strings.Fields(value + " -")[0]); err == nil {
			channel[name] = n
		}
	}
	for i, part := range strings.Split(text, ",") {
		name, value, _ := strings.Cut(part, ":")
		switch name = strings.TrimSpace(name); {
		case i == 0:
			number, band, _ := strings.Cut(part, "(")
			put("number", number)
			put("band", band)
		case name == "width", name == "center1":
			put(name, value)
		}
	}
	return channel
}

// setting returns the value of a setting of the kernel: a number, or else text,
// with its tabs.
func setting(text string) any {
	text = strings.TrimRight(text, "\n")
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n
	}
	return text
}

// buildID returns the build ID of an ELF note, as hexadecimal digits: what is
// behind its sizes, its type and its name, GNU.
func buildID(note []byte) string {
	const before = 16
	if len(note) <= before {
		return ""
	}
	return hex.EncodeToString(note[before:])
}
