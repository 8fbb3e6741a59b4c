package testprog

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

// Killed runs this test program once more, with variables added to its
// environment, by which its TestMain knows what it is to be, and kills it when it
// has printed n octets. It returns those, fewer if it has ended before or printed
// nothing for too long, and what it has said on its standard error.
func Killed(t testing.TB, n int, env ...string) (printed []byte, said string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), quickExit), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	patience := time.AfterFunc(Patience, func() { _ = cmd.Process.Kill() })
	defer patience.Stop()
	printed = make([]byte, n)
	n, _ = io.ReadFull(out, printed) // less than wanted is for the caller to judge
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return printed[:n], stderr.String()
}
