package datafile

import (
	"errors"
	"fmt"
	"io"
)

// Bounds are those of a file that is read.
type bounds struct {
	octets   int64 // without compression
	piece    int   // octets of what is read at once: a raw value, a name
	metadata int   // octets of all metadata
	depth    int   // of JSON
	values   int   // numbers and nulls in all series
	series   int
}

// usual bounds are far beyond what a test makes.
var usual = bounds{octets: 2 << 30, piece: 1 << 20, metadata: 16 << 20, depth: 32, values: 1 << 24, series: 1 << 16}

// pieceDepth is how deep pieces lie: {"raw_values": {"series": [piece, …
const pieceDepth = 3

// A guard hands through a text of JSON, and stops where it would take more memory
// to read than a data file does: a file of some kilobytes may be one of
// gigabytes, all of it one string.
type guard struct {
	bounds
	r        io.Reader
	err      error // that ended it
	n        int64 // octets
	since    int   // octets since the last one that ended a piece
	level    int
	whole    bool // what comes is one piece: metadata
	inString bool
	escaped  bool
}

var errTooLong = errors.New("no data file: it is too long")

func (g *guard) Read(p []byte) (int, error) {
	if g.err != nil {
		return 0, g.err
	}
	n, err := g.r.Read(p)
	for i, c := range p[:n] {
		if g.err = g.take(c); g.err != nil {
			return i, g.err
		}
	}
	return n, err
}

// take looks at one octet.
func (g *guard) take(c byte) error {
	g.n++
	g.since++
	switch {
	case g.n > g.octets:
		return fmt.Errorf("%w: more than %d octets without compression", errTooLong, g.octets)
	case g.since > g.piece && (!g.whole || g.since > g.metadata):
		return fmt.Errorf("%w: octet %d: a value of more than %d octets", errTooLong, g.n, g.since-1)
	case g.escaped:
		g.escaped = false
	case g.inString:
		g.inString, g.escaped = c != '"', c == '\\'
	case c == '"':
		g.inString = true
	case c == '{' || c == '[':
		if g.level++; g.level > g.depth {
			return fmt.Errorf("%w: octet %d: more than %d levels", errTooLong, g.n, g.depth)
		}
	case c == '}' || c == ']':
		g.level--
		fallthrough
	case c == ',' || c == ':':
		if g.level <= pieceDepth && !g.whole {
			g.since = 0
		}
	}
	return nil
}
