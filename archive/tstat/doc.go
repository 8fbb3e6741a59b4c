// Package tstat sends on what the passive monitor tstat has logged of the flows
// that it has seen, as tstat_send of tstat-transport 0.6.8 does, and removes what
// was sent, as tstat_cull does.
//
// Tstat writes a directory for each hour or so, whose name ends in .out, with a
// log of TCP connections and one of UDP flows in it. [Send] walks through these
// directories. Each line of a log has two directions, client to server and server
// to client; one that has carried enough becomes an object in JSON. Up to 100
// objects are a slice, which a [Transport] brings to where it is wanted. A
// directory whose slices have all been confirmed is marked as processed, and
// [Cull] removes it when it has been so for long enough.
//
// Logs are streams here: what is in memory at a time is a line and a slice.
package tstat
