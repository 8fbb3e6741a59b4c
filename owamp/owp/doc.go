// Package owp reads and writes .owp files, in which the receiver of a session
// keeps what came of each test packet. Files that it writes are equal to those
// of the C suite owamp, octet for octet.
//
// A [Reader] streams records from a file that may still be written to; a
// [Writer] appends them as they arrive and settles the file when the session
// ends; [Store] writes a whole file at once; [Repair] completes what a process
// that was killed has left.
//
// # Format
//
// All integers are big-endian. Version 3 begins with
//
//	  0  "OwA\0"
//	  4  Version   u32, 3
//	  8  Finished  u32, see [Finished]
//	 12  Next Seq  u32, as in owamp.SendReport
//	 16  Skips     u32
//	 20  Records   u32
//	 24  offset of the skip ranges u64
//	 32  offset of the records     u64
//	 40  the fixed part of the Request-Session, its HMAC zero
//	152  its slots, 16 octets each
//	     16 octets of zeros
//
// A record is 25 octets, in the order of arrival; a lost packet is recorded
// when its time-out is over:
//
//	 0  Sequence number        u32
//	 4  Send error estimate    u16
//	 6  Receive error estimate u16
//	 8  Send time              Timestamp
//	16  Receive time           Timestamp, zero for a lost packet
//	24  TTL                    u8
//
// A skip range is 8 octets, its first and its last sequence number. A receiver
// appends the skip ranges to the records, a file that was fetched has them
// before the records: the two offsets tell.
//
// While a session runs its file has no offset of skip ranges, its number of
// records follows from its size, and what is left over at its end is a record
// on its way.
//
// Versions 2 and 0 are read only. They know neither skip ranges nor TTLs, and
// have as many records as they have room for. Version 2 begins with
//
//	  0  "OwA\0"
//	  4  Version   u32
//	  8  offset of the records u64
//	 16  Finished  u32
//	 20  the fixed part of the Request-Session, its HMAC zero
//	132  its slots, 16 octets each
//	     16 octets of zeros
//
// and version 0, which says nothing of the session, ends before Finished. In
// both a record is 24 octets:
//
//	 0  Sequence number        u32
//	 4  Send time              Timestamp
//	12  Send error estimate    u16
//	14  Receive time           Timestamp, zero for a lost packet
//	22  Receive error estimate u16
package owp
