// Package cli is what Owl's programs share around their work, beside what
// internal/command has for all of them: signals, the log lines in the look that operators know from the
// C suite, the listener that serves metrics, and the ways in which a peer or a
// local address is written on a command line.
//
// Nothing here reads the environment or prints on its own; programs hand in
// their writers and resolvers.
package cli
