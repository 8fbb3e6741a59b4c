// Package interop holds the programs against what is true from elsewhere: the C
// suite owamp, whose programs speak the same protocol and read and write the
// same files, and networks of package netlab whose harm is known because the
// test has done it, and a Prometheus that scrapes them. It consists of tests only.
//
// Tests named TestInterop… need the programs of the C suite 5.2.3 in the
// directory that the environment variable OWAMP_REFERENCE_DIR names, tests named
// TestNetwork… need root. Where these are missing the tests are skipped with the
// reason. Those named …Long take minutes and are skipped with -short.
//
// All of them run the programs as users do, freshly built, and look at nothing
// but what a user can see: files, output, metrics and the wire.
package interop
