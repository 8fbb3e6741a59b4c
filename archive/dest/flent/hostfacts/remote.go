package hostfacts

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"time"
)

const (
	maxOutput  = 1 << 20 // octets that a host may answer
	maxSaid    = 300     // octets that ssh may say of an error
	killedWait = time.Second
)

// sshOptions have ssh ask nobody for a password, and not wait for ever.
var sshOptions = []string{"-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=2"}

// askRemote asks a host what it knows, and how it reaches the target and the
// source, the host that has measured. Neither needs to be valid.
func askRemote(ctx context.Context, ssh []string, name string, target, source netip.Addr) (*host, error) {
	if ssh == nil {
		ssh = []string{"ssh"}
	}
	args := append(append(append([]string{}, ssh[1:]...), sshOptions...), "--", name, "exec sh")
	running, kill := context.WithCancel(ctx)
	defer kill()
	cmd := exec.CommandContext(running, ssh[0], args...)
	cmd.WaitDelay = killedWait
	cmd.Stdin = strings.NewReader(script(target, source))
	out, said := &bounded{most: maxOutput, full: kill}, &bounded{most: maxSaid, full: func() {}}
	cmd.Stdout, cmd.Stderr = out, said
	err := cmd.Run()
	switch {
	case out.over:
		return nil, fmt.Errorf("answers with more than %d octets", maxOutput)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("no answer: %w", ctx.Err())
	case err != nil:
		// The last line says what went wrong; those before may be banners.
		lines := strings.Split(strings.TrimSpace(said.String()), "\n")
		if last := strings.TrimSpace(lines[len(lines)-1]); last != "" {
			err = fmt.Errorf("%w: %s", err, last)
		}
		return nil, err
	}
	return parseAnswer(out.String(), target, source)
}

// A bounded buffer keeps so many octets, and calls full when there are more. The
// buffer is no embedded one: that would read without a bound.
type bounded struct {
	kept bytes.Buffer
	most int
	full func()
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := b.most - b.kept.Len()
	b.kept.Write(p[:min(len(p), room)])
	if len(p) > room && !b.over {
		b.over = true
		b.full()
	}
	return len(p), nil
}

func (b *bounded) String() string { return b.kept.String() }

// mark begins a line that says what follows.
const mark = "@@ owl "

// script returns what a shell is to do, that of a router with busybox, too.
func script(target, source netip.Addr) string {
	var b strings.Builder
	b.WriteString("exec 2>/dev/null\nPATH=$PATH:/sbin:/usr/sbin\ns() { echo; echo \"" + mark + "$1\"; }\n")
	b.WriteString("s hostname; hostname || uname -n\ns kernel; uname -s\ns release; uname -r\n")
	b.WriteString("s sysctls\nfor f in " + strings.ReplaceAll(strings.Join(sysctls, " "), ".", "/") + "; do\n" +
		"  [ -r /proc/sys/$f ] && echo \"$f $(cat /proc/sys/$f)\"\ndone\n")
	b.WriteString("s modules\ncd /sys/module && for m in " + strings.Join(modules, " ") + "; do\n" +
		"  n=$m/notes/.note.gnu.build-id\n" +
		"  [ -r $n ] && echo $m $( (od -An -v -tx1 $n || hexdump -v -e '1/1 \"%02x\"' $n) | tr -d ' \\n')\ndone\n")
	b.WriteString("s addrs; ip -o addr show\ns gateways; ip -4 route show default; ip -6 route show default\ns wifi; iw dev\n")
	b.WriteString(`way() {
  s $1-route; r=$(ip route get $2 | head -n 1); echo "$r"
  d=$(echo "$r" | sed -n 's/.* dev \([^ ]*\).*/\1/p'); n=/sys/class/net/$d
  [ -n "$d" ] || return
  s $1-qdiscs; tc -s qdisc show dev $d
  s $1-classes; tc class show dev $d
  s $1-offloads; ethtool -k $d
  s $1-driver; l=$(readlink $n/device/driver) && echo ${l##*/}
  s $1-bql; for q in $n/queues/tx-*; do echo ${q##*/} $(cat $q/byte_queue_limits/limit_max); done
  s $1-qlen; cat $n/tx_queue_len
  s $1-ether; cat $n/address
  s $1-speed; cat $n/speed
  s $1-duplex; cat $n/duplex
}
`)
	if target.IsValid() {
		fmt.Fprintf(&b, "way egress %s\n", target.WithZone(""))
	}
	if source.IsValid() {
		fmt.Fprintf(&b, "way ingress %s\n", source.WithZone(""))
	}
	b.WriteString("s end\n")
	return b.String()
}

// parseAnswer reads what the script has printed.
func parseAnswer(text string, target, source netip.Addr) (*host, error) {
	parts := make(map[string]string)
	what := ""
	for _, part := range strings.Split("\n"+text, "\n"+mark)[1:] {
		name, said, _ := strings.Cut(part, "\n")
		what = strings.TrimSpace(name)
		parts[what] = said
	}
	if what != "end" {
		return nil, errors.New("the answer ends too early: is there a POSIX shell?")
	}
	word := func(name string) string { return strings.TrimSpace(parts[name]) }
	h := &host{
		name:     word("hostname"),
		kernel:   word("kernel"),
		release:  word("release"),
		modules:  make(map[string]string),
		sysctls:  make(map[string]any),
		addrs:    parseAddrs(parts["addrs"]),
		gateways: parseGateways(parts["gateways"]),
		wifi:     parseWifi(parts["wifi"]),
	}
	for line := range strings.Lines(parts["sysctls"]) {
		if name, value, ok := strings.Cut(line, " "); ok {
			h.sysctls[strings.ReplaceAll(name, "/", ".")] = setting(value)
		}
	}
	for line := range strings.Lines(parts["modules"]) {
		name, note, _ := strings.Cut(strings.TrimSpace(line), " ")
		if b, err := hex.DecodeString(note); err == nil && buildID(b) != "" {
			h.modules[name] = buildID(b)
		}
	}
	for _, to := range []struct {
		name string
		addr netip.Addr
		way  **way
	}{{"egress", target, &h.egress}, {"ingress", source, &h.ingress}} {
		w := parseRoute(parts[to.name+"-route"], to.addr.String())
		if w == nil {
			continue
		}
		of := func(what string) string { return parts[to.name+"-"+what] }
		w.qdiscs, w.classes = parseQueues(of("qdiscs"), "qdisc"), parseQueues(of("classes"), "class")
		w.statistics = parseStatistics(of("qdiscs"))
		w.offloads = parseOffloads(of("offloads"))
		w.bql = make(map[string]string)
		for line := range strings.Lines(of("bql")) {
			if words := strings.Fields(line); len(words) == 2 {
				w.bql[words[0]] = words[1]
			}
		}
		w.driver, w.qlen, w.ether, w.speed, w.duplex = word(to.name+"-driver"), word(to.name+"-qlen"), word(to.name+"-ether"), word(to.name+"-speed"), word(to.name+"-duplex")
		*to.way = w
	}
	return h, nil
}
