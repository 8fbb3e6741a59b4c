package datafile

import (
	"errors"
	"fmt"
	"io"
)

// Bounds of a file that is read.
const (
	maxOctets   = 2 << 30  // without compression
	maxPiece    = 1 << 20  // octets of what is read at once: a raw value, a name
	maxMetadata = 16 << 20 // octets of all metadata
	maxDepth    = 32       // of JSON
	maxValues   = 1 << 24  // numbers and nulls in all series
	maxSeries   = 1 << 16
)

// pieceDepth is how deep pieces lie: {"raw_values": {"series": [piece, …
const pieceDepth = 3

// A guard hands through a text of JSON, and stops where it would take more memory
// to read than a data file does: a file of some kilobytes may be one of
// gigabytes, all of it one string.
type guard struct {
	r        io.Reader
	octets   int64
	piece    int  // octets since the last one that ended a piece
	whole    bool // what comes is one piece: metadata
	depth    int
	inString bool
	escaped  bool
}

var errTooLong = errors.New("no data file: it is too long")

func (g *guard) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	for i, c := range p[:n] {
		if e := g.take(c); e != nil {
			return i, e
		}
	}
	return n, err
}

// take looks at one octet.
func (g *guard) take(c byte) error {
	g.octets++
	g.piece++
	switch {
	case g.octets > maxOctets:
		return fmt.Errorf("%w: more than %d octets without compression", errTooLong, int64(maxOctets))
	case g.piece > maxPiece && (!g.whole || g.piece > maxMetadata):
		return fmt.Errorf("%w: octet %d: a value of more than %d octets", errTooLong, g.octets, g.piece-1)
	case g.escaped:
		g.escaped = false
	case g.inString:
		g.inString, g.escaped = c != '"', c == '\\'
	case c == '"':
		g.inString = true
	case c == '{' || c == '[':
		if g.depth++; g.depth > maxDepth {
			return fmt.Errorf("%w: octet %d: more than %d levels", errTooLong, g.octets, maxDepth)
		}
	case c == '}' || c == ']':
		g.depth--
		fallthrough
	case c == ',' || c == ':':
		if g.depth <= pieceDepth && !g.whole {
			g.piece = 0
		}
	}
	return nil
}
