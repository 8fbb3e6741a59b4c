package hostfacts

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	sysClassNet = "/sys/class/net"
	maxNote     = 4 << 10 // octets of a build's note
	iwTimeout   = 5 * time.Second
)

// local asks this host.
func local(ctx context.Context, target netip.Addr, extended bool) *host {
	h := &host{modules: make(map[string]string), sysctls: make(map[string]any)}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		h.kernel, h.release = unix.ByteSliceToString(name.Sysname[:]), unix.ByteSliceToString(name.Release[:])
	}
	for _, s := range sysctls {
		if b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(s, ".", "/")); err == nil {
			h.sysctls[s] = setting(string(b))
		}
	}
	for _, m := range modules {
		dirs, _ := filepath.Glob("/sys/module/" + m) // the pattern is right
		for _, dir := range dirs {
			note, err := os.ReadFile(dir + "/notes/.note.gnu.build-id")
			if err == nil && len(note) < maxNote && buildID(note) != "" {
				h.modules[filepath.Base(dir)] = buildID(note)
			}
		}
	}
	if target.IsValid() {
		h.egress = wayTo(target)
	}
	if !extended {
		return h
	}
	h.addrs = addrs()
	h.gateways = defaultGateways()
	if wireless, _ := filepath.Glob(sysClassNet + "/*/phy80211"); len(wireless) > 0 {
		ctx, cancel := context.WithTimeout(ctx, iwTimeout)
		defer cancel()
		out := &bounded{most: maxOutput, full: cancel}
		cmd := exec.CommandContext(ctx, "iw", "dev")
		cmd.Stdout, cmd.WaitDelay = out, killedWait
		if cmd.Run() == nil {
			h.wifi = parseWifi(out.String())
		}
	}
	return h
}

// wayTo returns the way to an address; nil: there is none.
func wayTo(target netip.Addr) *way {
	r, err := routeTo(target.Unmap())
	if err != nil {
		return nil
	}
	link, err := net.InterfaceByIndex(r.index)
	if err != nil {
		return nil
	}
	w := &way{target: target.Unmap().String(), iface: link.Name, source: text(r.source), nextHop: text(r.gateway)}
	if queues, err := queues(link.Index, unix.RTM_GETQDISC); err == nil {
		w.qdiscs, w.statistics = splitQueues(queues)
	}
	if queues, err := queues(link.Index, unix.RTM_GETTCLASS); err == nil {
		w.classes, _ = splitQueues(queues)
	}
	w.offloads = offloads(link.Name)
	dir := filepath.Join(sysClassNet, link.Name)
	if driver, err := os.Readlink(dir + "/device/driver"); err == nil {
		w.driver = filepath.Base(driver)
	}
	w.bql = make(map[string]string)
	limits, _ := filepath.Glob(dir + "/queues/tx-*/byte_queue_limits/limit_max")
	for _, path := range limits {
		w.bql[filepath.Base(filepath.Dir(filepath.Dir(path)))] = word(path)
	}
	w.qlen, w.ether = word(dir+"/tx_queue_len"), word(dir+"/address")
	w.speed, w.duplex = word(dir+"/speed"), word(dir+"/duplex")
	return w
}

// queueStatistics returns what has gone through the queues of an interface.
func queueStatistics(name string) []string {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil
	}
	all, err := queues(link.Index, unix.RTM_GETQDISC)
	if err != nil {
		return nil
	}
	_, statistics := splitQueues(all)
	return statistics
}

// word returns what a file of the kernel says, "" if it says nothing: some do not,
// of interfaces that are down or no hardware.
func word(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// text returns an address as text, "" without one.
func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// Commands of ethtool (linux/ethtool.h) that tell whether something is offloaded.
var offloadCommands = map[string]uint32{
	"tcp-segmentation-offload":     0x1e, // ETHTOOL_GTSO
	"udp-fragmentation-offload":    0x21, // ETHTOOL_GUFO
	"generic-segmentation-offload": 0x23, // ETHTOOL_GGSO
	"generic-receive-offload":      0x2b, // ETHTOOL_GGRO
	"large-receive-offload":        ethtoolFlags,
}

const (
	ethtoolFlags = 0x25    // ETHTOOL_GFLAGS
	flagLRO      = 1 << 15 // ETH_FLAG_LRO
)

// offloads returns what an interface does itself of what the kernel would do.
func offloads(name string) map[string]bool {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(s)
	all := make(map[string]bool)
	for offload, command := range offloadCommands {
		v, err := ethtool(s, name, command)
		if err != nil {
			continue // the driver does not know of it
		}
		if command == ethtoolFlags {
			v &= flagLRO
		}
		all[offload] = v != 0
	}
	return all
}

// ethtool asks for one value of an interface.
func ethtool(socket int, name string, command uint32) (uint32, error) {
	type value struct{ command, data uint32 }
	type request struct {
		name [unix.IFNAMSIZ]byte
		data *value
		_    [16]byte // the rest of struct ifreq
	}
	r := request{data: &value{command: command}}
	copy(r.name[:unix.IFNAMSIZ-1], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r))); errno != 0 {
		return 0, os.NewSyscallError("ioctl "+strconv.Itoa(int(command)), errno)
	}
	return r.data.data, nil
}
