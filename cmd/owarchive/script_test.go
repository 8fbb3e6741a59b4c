package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"owl/internal/testprog"
)

// TestMain lets the test binary be owarchive, for scripts and for tests that start
// it.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"owarchive": main})
}

// TestScripts runs testdata/script: what owarchive says when it does not serve.
func TestScripts(t *testing.T) {
	testscript.Run(t, testprog.Scripts("testdata/script"))
}

func TestPage(t *testing.T) {
	testprog.Documented(t, "../../packaging/man/man8/owarchive.8", letters, long)
}
