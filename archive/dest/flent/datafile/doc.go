// Package datafile has the data files of Flent, the network tester, in version 4
// of their format: JSON, compressed, with a table of series over a common grid of
// time, the single values behind them, and metadata. docs/flent.md describes what
// Owl puts where.
//
// [Write] makes a file of one-way delays that Flent's own plots show. What it
// holds in memory grows with the length of the test in steps, never with the
// number of packets. [Read] reads a file, whoever wrote it, and says of each
// series what Flent would.
//
// Delays are whole nanoseconds, and so are the decimals in the file, which has
// milliseconds. Times of packets are there to the nanosecond, too, but Flent reads
// them as floating point seconds since 1970, to about 0.2 µs: no delay can be had
// back from them.
package datafile
