// Package probe puts test packets on the wire and takes them off it: the hot
// path of OWAMP-Test (RFC 4656 section 4).
//
// An [Engine] serves all sessions of a process. A [Port] is one UDP socket that
// many sessions share; a session on it is named by the address and port of its
// peer. [Port.Receive] begins to receive a session, [Port.Send] to send one.
//
// # Receiving
//
// The receive time of a packet is the kernel's time stamp, so nobody hurries to
// read: one goroutine for all ports waits until a port is readable, lets some
// time pass so that more packets gather, and then empties the socket. Packets
// are decoded once, into [owamp.Record] values, and delivered in batches on that
// goroutine. [Receiving.Drain] empties the socket at once, on the goroutine of
// the caller. A kernel's stamps are used only if packets on the loopback
// interface have proved that it really takes them on arrival.
//
// With [CaptureRaw] the reader reads the packet rings of package capture instead,
// one for each interface, and packets go the same way from there.
//
// # Sending
//
// All sessions of an engine are sent by one lane, a goroutine locked to its
// thread, which exists while there is something to send. It sleeps until
// shortly before the next packet is due, waits awake for the rest, stamps the
// packet and hands it to the kernel, one packet a call. How much of that is
// sleep is a matter of [Pacing]; where it is allowed to, the thread goes before all
// others of the host, as long as it sleeps. What is late is sent at once, and skipped once
// it is later than the session's time-out; later packets are due when they would
// have been. [Engine.Slip] says how punctual they have been.
//
// A packet leaves some time after its stamp was taken. The kernel is asked how
// much later, about a sample of the packets; [Engine.Transmit] says what it
// answers, and the error estimates of packets contain it. Where a network card
// stamps packets, and its clock can be read, its stamps are used;
// [Engine.Stamps] says who has stamped how many.
//
// After a rest the caches of a processor are cold, and the first packet would
// take several times as long as others. So the lane sends copies of it over the
// loopback interface just before it is due. No copy leaves the host.
//
// Only Linux has an engine.
package probe
