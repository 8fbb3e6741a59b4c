package clock

import (
	"net"
	"sync"
	"testing"
)

// A responder is a server on loopback, over UDP, which answers as the test has it.
type responder struct {
	conn net.PacketConn

	mu     sync.Mutex
	answer func(question []byte) []byte // nil: there is no answer
}

func newResponder(t *testing.T, answer func([]byte) []byte) *responder {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &responder{conn: conn, answer: answer}
	ended := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-ended })
	go func() {
		defer close(ended)
		b := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			r.mu.Lock()
			answer := r.answer
			r.mu.Unlock()
			if a := answer(b[:n]); a != nil {
				_, _ = conn.WriteTo(a, from)
			}
		}
	}()
	return r
}

// name returns where the server is, host:port.
func (r *responder) name() string { return r.conn.LocalAddr().String() }

// set has the server answer otherwise from now on.
func (r *responder) set(answer func([]byte) []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}
