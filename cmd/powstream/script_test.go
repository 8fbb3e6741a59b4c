package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"owl/internal/testprog"
)

// TestMain lets the test binary be powstream, for scripts and for tests that
// start it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"powstream": main})
}

// TestScripts runs testdata/script: what powstream says and how it ends.
func TestScripts(t *testing.T) {
	testscript.Run(t, testprog.Scripts("testdata/script"))
}
