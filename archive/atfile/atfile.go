// Package atfile reads values that may be in a file, as those of pScheduler's
// command line.
package atfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"strings"
)

// maxSize bounds a file, in octets.
const maxSize = 16 << 20

// Read returns a value: of @FILE what is in the file, without the white space
// around it; of \@ and more, that without the \; of anything else itself. A file
// ~/FILE is in one's home, ~NAME/FILE in that of a user.
func Read(value string) (string, error) {
	if rest, escaped := strings.CutPrefix(value, `\@`); escaped {
		return "@" + rest, nil
	}
	path, isFile := strings.CutPrefix(value, "@")
	if !isFile {
		return value, nil
	}
	path, err := Expand(path)
	if err != nil {
		return "", err
	}
	text, err := read(path)
	return strings.TrimSpace(text), err
}

// Expand returns a path with the home directory that its ~ or ~NAME stands for.
func Expand(path string) (string, error) {
	rest, hasHome := strings.CutPrefix(path, "~")
	if !hasHome {
		return path, nil
	}
	name, rest, _ := strings.Cut(rest, "/")
	who, err := user.Current()
	if name != "" {
		who, err = user.Lookup(name)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return filepath.Join(who.HomeDir, rest), nil
}

// read returns what is in a file.
func read(path string) (string, error) {
	if path == "" {
		return "", errors.New("want a file behind the @")
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxSize {
		return "", fmt.Errorf("%s: want at most %d octets", path, maxSize)
	}
	return string(text), nil
}
