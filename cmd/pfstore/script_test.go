package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"owl/internal/testprog"
)

// TestMain lets the test binary be pfstore, for scripts, where it has no terminal,
// and for tests that give it one: it must not ask at that of whoever runs them.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"pfstore": func() {
			if _, err := unix.Setsid(); err != nil {
				panic(err)
			}
			main()
		},
		"pfstore-at-terminal": main,
	})
}

// TestScripts runs testdata/script: what pfstore says, and what it makes of
// files, where there is no terminal. Their command "mode FILE MODE" checks how a
// file may be used.
func TestScripts(t *testing.T) {
	params := testprog.Scripts("testdata/script")
	params.Cmds["mode"] = func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 2 {
			ts.Fatalf("usage: mode FILE MODE")
		}
		info, err := os.Stat(ts.MkAbs(args[0]))
		ts.Check(err)
		if got := fmt.Sprintf("%o", info.Mode().Perm()); got != args[1] {
			ts.Fatalf("%s has mode %s, want %s", args[0], got, args[1])
		}
	}
	testscript.Run(t, params)
}
