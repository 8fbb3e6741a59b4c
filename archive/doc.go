// Package archive brings results to where they are wanted, none lost: each goes
// into a durable queue first, and leaves it when its destination has said that it
// has it, or when its time is over, which is told of.
//
// A [Spec] says where results go and how. It is the archive specification of
// pScheduler, in its schemas 1 to 3.
package archive
