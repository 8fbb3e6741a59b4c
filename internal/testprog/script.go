package testprog

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// Scripts returns the parameters of the scripts in dir. Beside what testscript
// brings they have
//
//	$TAKEN      a TCP address of this host that somebody listens at
//	$LOCKER     the number of the process that "lock" locks files for
//	lock FILE   takes a lock of the file, and writes $LOCKER into it as the
//	            lock file of powstream has it
//	[root]      whether they run as root
func Scripts(dir string) testscript.Params {
	return testscript.Params{
		Dir:                dir,
		RequireUniqueNames: true,
		Deadline:           time.Now().Add(Patience),
		Setup: func(e *testscript.Env) error {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			e.Defer(func() { l.Close() })
			e.Vars = append(e.Vars, quickExit)
			e.Setenv("TAKEN", l.Addr().String())
			e.Setenv("LOCKER", strconv.Itoa(os.Getpid()))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"lock": lock},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	}
}

// lock is the command of that name.
func lock(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: lock FILE")
	}
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR|os.O_CREATE, 0o644)
	ts.Check(err)
	ts.Defer(func() { f.Close() })
	ts.Check(unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}))
	_, err = f.WriteAt(binary.NativeEndian.AppendUint32(nil, uint32(os.Getpid())), 0)
	ts.Check(err)
}
