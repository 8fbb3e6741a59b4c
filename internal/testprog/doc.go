// Package testprog lets tests run programs as users do: it starts them, waits
// for what they print rather than for time to pass, sends signals, and sees to
// it that nothing outlives the test. [Scripts] gives testscript what scripts
// about network programs need.
package testprog
