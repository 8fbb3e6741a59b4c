// Package cli is what Owl's programs share before and around their work: the
// version, the signals, the log lines in the look that operators know from the
// C suite, the listener that serves metrics, and the ways in which a peer or a
// local address is written on a command line.
//
// Nothing here reads the environment or prints on its own; programs hand in
// their writers and resolvers.
package cli

// Version is the release that the program was built from, as git describes it.
// The Makefile sets it when it links; a plain "go build" leaves "devel".
var Version = "devel"
