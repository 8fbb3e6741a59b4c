// Man makes Owl's manual pages, from the sources beside it and from what the
// programs say of themselves. It is what "make man" runs:
//
//	go run ./packaging/man BIN
//
// BIN is the directory of the programs. The pages are written to man1, man5,
// man7 and man8 in packaging/man.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// pagesDir is where the pages are, from the root of the repository.
const pagesDir = "packaging/man"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "man: %v\n", err)
		os.Exit(1) //nolint:forbidigo // this is a program
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return errors.New("want the directory of the programs")
	}
	bin, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	facts, err := gather(func(program string) string { return filepath.Join(bin, program) })
	if err != nil {
		return err
	}
	pages, err := makePages(facts)
	if err != nil {
		return err
	}
	for path, text := range pages {
		path = filepath.Join(pagesDir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return err
		}
	}
	return nil
}
