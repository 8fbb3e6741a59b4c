//go:build !unix

package table

import "io"

// terminalSize returns nil: without Unix no terminal is recognized.
func terminalSize(io.Writer) func() (columns, rows int) { return nil }
