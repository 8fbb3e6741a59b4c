// Package owamp is the vocabulary and the wire format of the One-Way Active
// Measurement Protocol, RFC 4656: time stamps, session identifiers, schedules'
// slots, the control messages, the test packets and the record that one
// received or lost packet becomes.
//
// The package does no I/O, starts no goroutine, reads no clock and logs
// nothing. Where a conversation needs time or randomness the caller hands them
// in, so that it can be replayed octet for octet.
//
// # Units
//
// A [Timestamp] is a point in time and an [Interval] a length of it, both in
// the 64-bit fixed point of RFC 4656 section 4.1.2: 32 bits of seconds and 32
// bits of fraction. Arithmetic on them is exact. Conversions to and from
// nanoseconds round trip: a nanosecond value that went through a Timestamp
// comes back unchanged. All integers on the wire are big-endian.
package owamp
