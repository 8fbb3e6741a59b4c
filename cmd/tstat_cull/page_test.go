package main

import (
	"testing"

	"owl/internal/testprog"
)

func TestPage(t *testing.T) {
	testprog.Documented(t, "../../packaging/man/man1/tstat_cull.1", taken.Letters(), taken.Long())
}
