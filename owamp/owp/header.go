package owp

import (
	"encoding/binary"
	"errors"
	"fmt"

	"owl/owamp"
)

// Where the fields of a version 3 file are.
const (
	magic = "OwA\x00"

	offVersion     = 4
	offFinished    = 8
	offNextSeq     = 12
	offNumSkips    = 16
	offNumRecords  = 20
	offSkipsOffset = 24
	offDataOffset  = 32
	offRequest     = 40
	offSlots       = offRequest + owamp.RequestSize

	skipSize = owamp.SkipRangeSize
)

// Where those of the older versions are: their data offset is at 8.
const (
	offDataOffsetV2 = 8
	sizeV0          = 16
	offFinishedV2   = 16
	offRequestV2    = 20
	offSlotsV2      = offRequestV2 + owamp.RequestSize
)

// Versions, as the file has them.
const (
	version0     = 0
	version2     = 2
	version3     = 3
	versionTWAMP = 0x83
)

// Beyond these a file is damaged or meant to hurt: they are what a [Reader]
// may have to keep in memory, 16 MB and 32 MB.
const (
	maxSlots = 1 << 20
	maxSkips = 1 << 22
)

// Finished says how a session ended.
type Finished uint32

const (
	Failed     Finished = 0 // with an error; its records are not to be relied on
	Normal     Finished = 1 // settled by Stop-Sessions
	Incomplete Finished = 2 // not yet, or by the loss of its control connection
)

func (f Finished) String() string {
	switch f {
	case Failed:
		return "failed"
	case Normal:
		return "normal"
	case Incomplete:
		return "incomplete"
	}
	return fmt.Sprintf("finished %d", uint32(f))
}

// A Header is what a file says of its session.
type Header struct {
	Version    uint32
	Finished   Finished          // Incomplete in version 0, which does not say
	NextSeq    uint32            // the first sequence number not considered for sending; 0 unless Finished is Normal and Version 3
	NumSkips   uint32            // 0 before version 3
	NumRecords uint32            // as the file says; 0 while it is written and before version 3: see [Reader.Len]
	Spec       owamp.SessionSpec // zero in version 0
}

// A FormatError is a file that is damaged, cut short, or no .owp file.
type FormatError struct {
	Offset int64  // of the field that is wrong, or where the file ends
	What   string // was found there, and what was expected
}

func (e *FormatError) Error() string { return fmt.Sprintf("octet %d: %s", e.Offset, e.What) }

func formatErrorf(offset int64, format string, args ...any) error {
	return &FormatError{Offset: offset, What: fmt.Sprintf(format, args...)}
}

// sizeOfHeader returns where the first section of a version 3 file begins.
func sizeOfHeader(slots int) int64 { return offSlots + owamp.SlotSize*(int64(slots)+1) }

// appendHeader appends the header h of version 3, whose sections lie at skips
// and data.
func appendHeader(b []byte, h *Header, skips, data int64) []byte {
	b = append(b, magic...)
	b = binary.BigEndian.AppendUint32(b, version3)
	b = binary.BigEndian.AppendUint32(b, uint32(h.Finished))
	b = binary.BigEndian.AppendUint32(b, h.NextSeq)
	b = binary.BigEndian.AppendUint32(b, h.NumSkips)
	b = binary.BigEndian.AppendUint32(b, h.NumRecords)
	b = binary.BigEndian.AppendUint64(b, uint64(skips))
	b = binary.BigEndian.AppendUint64(b, uint64(data))
	b = h.Spec.AppendRequest(b)
	b = owamp.AppendSlots(b, h.Spec.Slots)
	return append(b, make([]byte, owamp.BlockSize)...)
}

// checkSpec refuses a session that no reader would take from a file.
func checkSpec(s *owamp.SessionSpec) error {
	sender, receiver := s.Sender.Addr(), s.Receiver.Addr()
	switch {
	case !s.ConfSender && !s.ConfReceiver:
		return errors.New("session that the server neither sends nor receives: want one of them")
	case !sender.IsValid() || !receiver.IsValid() || sender.Unmap().Is4() != receiver.Unmap().Is4():
		return fmt.Errorf("session from %v to %v: want two addresses of one family", sender, receiver)
	case len(s.Slots) > maxSlots:
		return fmt.Errorf("session of %d slots: want at most %d", len(s.Slots), maxSlots)
	}
	for i, slot := range s.Slots {
		if slot.Type != owamp.SlotExponential && slot.Type != owamp.SlotFixed {
			return fmt.Errorf("slot %d of type %d: want 0 or 1", i, slot.Type)
		}
	}
	return nil
}

// appendSkips appends skip ranges as a file has them, which unlike a message
// does not fill up the last block.
func appendSkips(b []byte, skips []owamp.SkipRange) []byte {
	return owamp.AppendSkips(b, skips)[:len(b)+len(skips)*skipSize]
}
