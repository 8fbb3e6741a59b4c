package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"owl/internal/testprog"
)

// TestMain lets the test binary be owampd, for scripts and for tests that start
// it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"owampd": main})
}

// TestScripts runs testdata/script: what owampd says when it does not run.
func TestScripts(t *testing.T) {
	testscript.Run(t, testprog.Scripts("testdata/script"))
}
