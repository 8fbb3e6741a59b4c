package control

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"owl/owamp"
	"owl/owamp/internal/seal"
)

// A stream carries the messages of one connection. The halves of the set-up
// that are in clear go through read and put; everything after them through
// readBlocks, readHMAC, putBlocks and putMessage, which encrypt and authenticate
// once there are keys. In open mode HMAC blocks are zeros when sent and anything
// when read.
//
// Reading and writing are independent of each other; of each there is one at a
// time.
type stream struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte // put and not yet flushed

	opening, sealing *seal.Stream // nil in open mode, and in what is in clear
}

func newStream(conn net.Conn) *stream {
	return &stream{conn: conn, in: bufio.NewReader(conn)}
}

// read fills b, with octets in clear, from the begin of the named message: the
// peer may close before, which is an io.EOF.
func (s *stream) read(message string, b []byte) error {
	_, err := io.ReadFull(s.in, b)
	if err != nil {
		return &ConnError{"reading " + message, err}
	}
	return nil
}

// readBlocks fills b, whole blocks, from the begin of the named message.
func (s *stream) readBlocks(message string, b []byte) error {
	err := s.read(message, b)
	if err == nil && s.opening != nil {
		s.opening.Blocks(b)
	}
	return err
}

// readRest fills b, whole blocks, from the middle of the named message.
func (s *stream) readRest(message string, b []byte) error {
	return within(s.readBlocks(message, b))
}

// readHMAC reads the HMAC block of the named message, and checks it.
func (s *stream) readHMAC(message string) error {
	var b [owamp.BlockSize]byte
	if err := within(s.read(message, b[:])); err != nil {
		return err
	}
	if s.opening != nil && !s.opening.Check(&b) {
		return garbage(message, errHMAC)
	}
	return nil
}

// errHMAC says that a message is not what the peer has sent, or that the peer
// is not who has the keys.
var errHMAC = errors.New("wrong HMAC")

// readMessage fills b with the whole named message, which ends with its HMAC
// block.
func (s *stream) readMessage(message string, b []byte) error {
	covered := len(b) - owamp.BlockSize
	if err := s.readBlocks(message, b[:covered]); err != nil {
		return err
	}
	return s.readHMAC(message)
}

// readSlots reads n slots and their HMAC block; memory grows no faster than
// octets arrive.
func (s *stream) readSlots(message string, n uint32) ([]owamp.Slot, error) {
	var slots []owamp.Slot
	for range n {
		var b [owamp.SlotSize]byte
		if err := s.readRest(message, b[:]); err != nil {
			return nil, err
		}
		slot, err := owamp.ParseSlot(&b)
		if err != nil {
			return nil, garbage(message, err)
		}
		slots = append(slots, slot)
	}
	return slots, s.readHMAC(message)
}

// within tells the end of the connection as one in the middle of a message.
func within(err error) error {
	if lost, ok := errors.AsType[*ConnError](err); ok && errors.Is(lost.Err, io.EOF) {
		lost.Err = io.ErrUnexpectedEOF
	}
	return err
}

// rest is the io.Reader that readRest is.
type rest struct {
	s       *stream
	message string
}

func (r rest) Read(b []byte) (int, error) {
	if err := r.s.readRest(r.message, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// put holds a message in clear until the next flush.
func (s *stream) put(b []byte) { s.out = append(s.out, b...) }

// putBlocks holds whole blocks of a message whose HMAC block comes later until
// the next flush.
func (s *stream) putBlocks(b []byte) {
	begin := len(s.out)
	s.put(b)
	if s.sealing != nil {
		s.sealing.Blocks(s.out[begin:])
	}
}

// putMessage holds a message, or a part of one, that ends with an HMAC block
// until the next flush.
func (s *stream) putMessage(b []byte) {
	var hmac [owamp.BlockSize]byte
	s.putBlocks(b[:len(b)-len(hmac)])
	if s.sealing != nil {
		s.sealing.Sign(&hmac)
	}
	s.put(hmac[:])
}

// flush sends what was put, in one write.
func (s *stream) flush(message string) error {
	_, err := s.conn.Write(s.out)
	s.out = s.out[:0]
	if err != nil {
		return &ConnError{"writing " + message, err}
	}
	return nil
}

// send is putMessage and flush.
func (s *stream) send(message string, b []byte) error {
	s.putMessage(b)
	return s.flush(message)
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// during runs f, whose reads and writes fail once ctx ends, for setDeadline is
// one of the connection's. What f did not finish then has left the connection
// in the middle of a message.
func during(ctx context.Context, setDeadline func(time.Time) error, f func() error) error {
	set := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(set)
		_ = setDeadline(longAgo) // fails only on a connection that is closed anyway
	})
	err := f()
	if stop() {
		return err
	}
	<-set
	_ = setDeadline(time.Time{})
	if lost, ok := errors.AsType[*ConnError](err); ok && errors.Is(lost.Err, os.ErrDeadlineExceeded) {
		lost.Err = context.Cause(ctx)
	}
	return err
}
