package main

import (
	"testing"

	"owl/internal/testprog"
)

func TestPage(t *testing.T) {
	testprog.Documented(t, "../../packaging/man/man1/owagent.1", letters, long)
}
