package main

import (
	"testing"

	"owl/internal/command"
	"owl/internal/testprog"
)

func TestPage(t *testing.T) {
	testprog.Documented(t, "../../packaging/man/man1/pfstore.1", letters, command.StandardLong)
}
