package owamp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A StopSessions ends all sessions of a connection; each side sends one (RFC
// 4656 section 3.8):
//
//	 0  3          u8
//	 1  Accept     u8
//	 2  MBZ[2]
//	 4  Sessions   u32
//	 8  MBZ[8]
//	16  a record for each session
//	    HMAC[16]
//
// A record describes a session in which the originator of the message was the
// one that sent, and is filled up with zeros to a whole block:
//
//	 0  SID[16]
//	16  Next Seqno  u32
//	20  Skip ranges u32
//	24  a pair for each range: First u32, Last u32
type StopSessions struct {
	Accept  Accept // AcceptOK after a normal end
	Reports []SendReport
}

// Append appends s to b. The reference expects the reports in the reverse of
// the order in which the sessions were requested.
func (s StopSessions) Append(b []byte) []byte {
	b = append(b, byte(CommandStopSessions), byte(s.Accept), 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(s.Reports)))
	b = appendZeros(b, 8)
	for i := range s.Reports {
		b = s.Reports[i].append(b)
	}
	return appendZeros(b, BlockSize)
}

// append appends the record of r to b.
func (r *SendReport) append(b []byte) []byte {
	b = append(b, r.SID[:]...)
	b = binary.BigEndian.AppendUint32(b, r.NextSeq)
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Skips)))
	for _, s := range r.Skips {
		b = binary.BigEndian.AppendUint32(b, s.First)
		b = binary.BigEndian.AppendUint32(b, s.Last)
	}
	if len(r.Skips)%2 == 0 {
		b = appendZeros(b, BlockSize/2)
	}
	return b
}

// ReadStopSessions reads a Stop-Sessions whose first block is head and whose
// records come from r, in whole blocks; the HMAC block is left unread.
//
// Known are the sessions that the peer sends, with the number of packets of
// each. A report of another session, a second one of the same, a next sequence
// number beyond the packets, and skip ranges that [ValidateSkips] refuses or
// that are in all more than maxSkips are errors; memory grows no faster than
// octets arrive. That a known session is missing is not: the reference sends
// none where a session never began.
//
// An error of r is returned as it is, but for an [io.EOF] within the message,
// which becomes [io.ErrUnexpectedEOF].
func ReadStopSessions(head *[BlockSize]byte, r io.Reader, known map[SID]uint32, maxSkips int) (StopSessions, error) {
	var s StopSessions
	if err := CommandStopSessions.check(head[0]); err != nil {
		return s, err
	}
	accept, err := parseAccept(head[1])
	if err != nil {
		return s, err
	}
	s.Accept = accept
	n := binary.BigEndian.Uint32(head[4:])
	if uint64(n) > uint64(len(known)) {
		return s, fmt.Errorf("reports on %d sessions, want at most %d", n, len(known))
	}
	seen := make(map[SID]bool, n)
	for range n {
		rep, err := readSendReport(r, known, maxSkips)
		if err != nil {
			return s, err
		}
		if seen[rep.SID] {
			return s, fmt.Errorf("two reports on session %v", rep.SID)
		}
		seen[rep.SID] = true
		maxSkips -= len(rep.Skips)
		s.Reports = append(s.Reports, rep)
	}
	return s, nil
}

// readSendReport reads one record of a Stop-Sessions.
func readSendReport(r io.Reader, known map[SID]uint32, maxSkips int) (SendReport, error) {
	var b [2 * BlockSize]byte
	if err := readWithin(r, b[:]); err != nil {
		return SendReport{}, err
	}
	rep := SendReport{SID: SID(b[:16]), NextSeq: binary.BigEndian.Uint32(b[16:])}
	n := binary.BigEndian.Uint32(b[20:])
	packets, ok := known[rep.SID]
	switch {
	case !ok:
		return rep, fmt.Errorf("report on session %v, which the peer does not send", rep.SID)
	case rep.NextSeq > packets:
		return rep, fmt.Errorf("session %v: next sequence number %d, want at most %d", rep.SID, rep.NextSeq, packets)
	case n > rep.NextSeq || uint64(n) > uint64(max(maxSkips, 0)):
		return rep, fmt.Errorf("session %v: %d skip ranges, want at most %d", rep.SID, n, min(uint64(rep.NextSeq), uint64(max(maxSkips, 0))))
	}

	// The first range shares a block with the counts; then come two a block,
	// and a place that no range fills is zero.
	half := b[24:]
	for i := range n {
		if i%2 == 1 {
			if err := readWithin(r, b[:BlockSize]); err != nil {
				return rep, err
			}
			half = b[:BlockSize]
		}
		rep.Skips = append(rep.Skips, SkipRange{binary.BigEndian.Uint32(half), binary.BigEndian.Uint32(half[4:])})
		half = half[BlockSize/2:]
	}
	if n%2 == 0 && binary.BigEndian.Uint64(half) != 0 {
		return rep, fmt.Errorf("session %v: padding is not zero", rep.SID)
	}
	if err := ValidateSkips(rep.Skips, rep.NextSeq, packets); err != nil {
		return rep, fmt.Errorf("session %v: %w", rep.SID, err)
	}
	return rep, nil
}

// readWithin fills b from the middle of a message.
func readWithin(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
