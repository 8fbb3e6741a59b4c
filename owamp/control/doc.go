// Package control speaks OWAMP-Control, RFC 4656 section 3, over a connection
// that someone else has made: [Connect] is the client's half and [Serve] the
// server's. It dials nothing, measures nothing and decides nothing: what a
// request is answered, and what its sessions do, is the [Handler]'s.
//
// One connection carries many sessions and is used again and again: several
// Request-Sessions, one Start-Sessions, then one Stop-Sessions from each side,
// whichever is first, and from the start. While none run, the results of
// earlier ones can be fetched on it.
//
// Everything that a peer may say is bounded, in number, in memory and, on the
// server, in time. A peer that breaks the protocol, or is lost, is told by one
// error, a [*ProtocolError] or a [*ConnError], and the connection is closed; no
// goroutine outlives [Serve] or [Client.Close].
//
// Open mode is the only one so far. Every octet passes through one type, the
// stream, which is where cipher and HMAC belong; in open mode it sends HMAC
// blocks of zeros and does not look at those that come.
package control
