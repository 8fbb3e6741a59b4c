package testprog

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// CheckThreads checks that all threads of a process are nobody's (65534) and have
// no capabilities but those of the bits.
func CheckThreads(t *testing.T, pid int, capabilities uint64) {
	t.Helper()
	held := fmt.Sprintf(`%016x`, capabilities)
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) < 2 {
		t.Fatalf("%v, threads %q", err, tasks)
	}
	checked := 0
	for _, task := range tasks {
		status, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		checked++
		for _, want := range []string{`Uid:(\s65534){4}`, `Gid:(\s65534){4}`, `Groups:\s(65534)? ?`, `CapPrm:\s` + held, `CapEff:\s` + held, `CapInh:\s0+`, `CapAmb:\s0+`} {
			if !regexp.MustCompile(`(?m)^` + want + `$`).Match(status) {
				t.Errorf("no %s in %s:\n%s", want, task, status)
			}
		}
	}
	if checked == 0 {
		t.Error("no thread was there to be checked")
	}
}
