package main

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of processor time in /proc, the same on all systems
// that Linux programs see.
const clockTick = 10 * time.Millisecond

// A usage is what programs use.
type usage struct {
	cpu       time.Duration // so far, with that of children that have ended
	memory    uint64        // octets; what programs share is counted once
	processes int
}

// usageOf returns what all programs in dir that run use.
func usageOf(dir string) (usage, error) {
	var sum usage
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return sum, err
	}
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return sum, err
	}
	for _, p := range all {
		exe, err := os.Readlink(p + "/exe")
		if err != nil || filepath.Dir(exe) != dir {
			continue
		}
		stat, err := os.ReadFile(p + "/stat")
		if err != nil { // it has ended
			continue
		}
		sum.processes++
		sum.memory += proportional(p)
		// proc(5): utime, stime, cutime and cstime are the fields 14 to 17; the
		// second is the name in brackets.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		for _, field := range fields[14-3 : 18-3] {
			ticks, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return sum, err
			}
			sum.cpu += time.Duration(ticks) * clockTick
		}
	}
	return sum, nil
}

// proportional returns the memory of a process, each page divided by how many
// processes have it.
func proportional(process string) uint64 {
	text, err := os.ReadFile(process + "/smaps_rollup")
	if err != nil {
		return 0
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) == 3 && f[0] == "Pss:" {
			n, _ := strconv.ParseUint(f[1], 10, 64) // the kernel's
			return n << 10
		}
	}
	return 0
}

// load returns the load of the machine during the last minute.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
