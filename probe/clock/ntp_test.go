package clock

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/beevik/ntp"

	"owl/internal/bubble"
	"owl/owamp"
)

// Where the fields of an answer are (RFC 5905 section 7.3).
const (
	leapAt           = 0
	stratumAt        = 1
	rootDelayAt      = 4
	rootDispersionAt = 8
	referenceAt      = 12
	referenceTimeAt  = 16
	originAt         = 24
	receiveAt        = 32
	transmitAt       = 40
)

// answering returns the answer of a server whose clock is ahead by offset, and
// that is otherwise in order, but for what change does to it.
func answering(offset time.Duration, change func(answer []byte)) func([]byte) []byte {
	return func(question []byte) []byte {
		b := make([]byte, 48)
		now := uint64(owamp.FromTime(time.Now().Add(offset)))
		b[leapAt], b[stratumAt], b[2], b[3] = 0<<6|4<<3|4, 2, 6, 0xe9 // 2^-23 s
		binary.BigEndian.PutUint32(b[rootDelayAt:], 65536/1000)       // 1 ms
		binary.BigEndian.PutUint32(b[rootDispersionAt:], 65536/2000)  // 0.5 ms
		copy(b[referenceAt:], []byte{192, 0, 2, 9})
		binary.BigEndian.PutUint64(b[referenceTimeAt:], now-10<<32)
		copy(b[originAt:], question[transmitAt:48])
		binary.BigEndian.PutUint64(b[receiveAt:], now)
		binary.BigEndian.PutUint64(b[transmitAt:], now)
		if change != nil {
			change(b)
		}
		return b
	}
}

// asking returns a clock whose kernel is sure, its server and its log.
func asking(t *testing.T, f *responder) (*Clock, *server, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	c := New(Config{
		Read:    func() (Kernel, error) { return Kernel{Error: 30 * us, MaxError: 4 * ms, Synchronized: true}, nil },
		Sources: Sources{NTP: []string{f.name()}},
		Log:     slog.New(slog.NewTextHandler(log, nil)),
	})
	return c, c.witnesses[0].(*server), log
}

// TestNTPMeasures: the offset is found, the figures are added up, and a clock
// that is off is said to be.
func TestNTPMeasures(t *testing.T) {
	for _, offset := range []time.Duration{0, 300 * ms, -2 * time.Second, 30 * 365 * 24 * time.Hour} {
		f := newResponder(t, answering(offset, nil))
		c, s, log := asking(t, f)
		if got := c.State(); len(got.Sources) != 1 || got.Sources[0].Synchronized || got.Sources[0].Stratum != 16 || got.Error != 30*us {
			t.Errorf("before the first answer: %+v", got)
		}
		if wait := s.ask(t.Context()); wait < 60*time.Second || wait > 68*time.Second {
			t.Errorf("asked again after %v, want 60 to 68 s", wait)
		}
		c.sample()
		got := c.State()
		src := &got.Sources[0]
		within := src.Delay/2 + src.Dispersion
		if !src.Synchronized || src.Stratum != 2 || src.Reference != "192.0.2.9" || src.Reach != 1 || src.Answered != 1 || src.Err != nil {
			t.Errorf("source %+v", src)
		}
		if src.Delay < ms-20*us || src.Dispersion < 480*us || within > 2*time.Second {
			t.Errorf("delay %v, dispersion %v; want the server's own and ours", src.Delay, src.Dispersion)
		}
		if s.at != f.name() || s.of != f.name() {
			t.Errorf("queried at %q, samples of %q, want %s", s.at, s.of, f.name())
		}
		if d := (src.Offset - offset).Abs(); d > within {
			t.Errorf("offset %v, want %v within %v", src.Offset, offset, within)
		}
		contradicted := offset.Abs() > within
		if contradicted != (got.Error == src.Offset.Abs()) || contradicted == (got.Error == 30*us) {
			t.Errorf("offset %v: error %v, want it to be the offset: %v", src.Offset, got.Error, contradicted)
		}
		if e := c.Error(0); !e.Synchronized() || e.Duration() < got.Error || float64(e.Duration()) > 1.01*float64(got.Error)+1 {
			t.Errorf("error estimate %v (S %v), want %v", e.Duration(), e.Synchronized(), got.Error)
		}
		if n := strings.Count(log.String(), "1 of 1 NTP servers say that the clock is off by "); (n == 1) != contradicted {
			t.Errorf("offset %v: logged %q", offset, log)
		}
	}
}

// TestNTPHostile: what a server must not say is not believed.
func TestNTPHostile(t *testing.T) {
	put32 := func(at int, v uint32) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint32(b[at:], v) }
	}
	put64 := func(at int, v uint64) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint64(b[at:], v) }
	}
	for name, change := range map[string]func([]byte){
		"another origin":                 put64(originAt, 1),
		"no transmit time":               put64(transmitAt, 0),
		"sent before received":           put64(transmitAt, 1),
		"not synchronized":               func(b []byte) { b[leapAt] |= 3 << 6 },
		"stratum 16":                     func(b []byte) { b[stratumAt] = 16 },
		"stratum 255":                    func(b []byte) { b[stratumAt] = 255 },
		"a client's mode":                func(b []byte) { b[leapAt] = b[leapAt]&^7 | 3 },
		"great root delay":               put32(rootDelayAt, math.MaxUint32),
		"great root dispersion":          put32(rootDispersionAt, math.MaxUint32),
		"an old reference":               put64(referenceTimeAt, 1<<63),
		"a reference to come":            func(b []byte) { copy(b[referenceTimeAt:], []byte{255, 255, 255, 255}) },
		"a precision that overflows":     func(b []byte) { b[3] = 0x80 },
		"a poll interval that overflows": func(b []byte) { b[2] = 0x80 },
		"held for too long": func(b []byte) {
			now := binary.BigEndian.Uint64(b[transmitAt:])
			binary.BigEndian.PutUint64(b[receiveAt:], now-30<<32)
		},
	} {
		c, s, log := asking(t, newResponder(t, answering(time.Hour, change)))
		s.ask(t.Context())
		c.sample()
		got := c.State()
		if src := &got.Sources[0]; src.Synchronized || src.Reach != 0 || src.Err == nil || src.Failed != 1 || got.Error != 30*us {
			t.Errorf("%s: %+v, error %v", name, src, got.Error)
		}
		if s.at != "" {
			t.Errorf("%s: queried at %s again, want where its name says", name, s.at)
		}
		s.ask(t.Context())
		if n := strings.Count(log.String(), "\n"); n != 1 {
			t.Errorf("%s: %d lines of log, want one: %s", name, n, log)
		}
	}
	for name, answer := range map[string][]byte{"nothing": {}, "too little": make([]byte, 47), "garbage": bytes.Repeat([]byte{0xa5}, 1500)} {
		_, s, _ := asking(t, newResponder(t, func([]byte) []byte { return answer }))
		s.ask(t.Context())
		if src := s.report(time.Now()); src.Synchronized || src.Err == nil {
			t.Errorf("%s: %+v", name, src)
		}
	}
}

// TestKissOfDeath: a server that wants fewer queries gets fewer, and one that
// wants none gets none. One that is not synchronized yet is asked as before (RFC
// 5905 section 7.4): ntpd then says INIT, chronyd nothing.
func TestKissOfDeath(t *testing.T) {
	for code, want := range map[string]time.Duration{"RATE": 128 * time.Second, "XYZW": DefaultEvery, "INIT": DefaultEvery, "": DefaultEvery, "DENY": -1, "RSTR": -1} {
		_, s, _ := asking(t, newResponder(t, answering(0, func(b []byte) {
			b[stratumAt] = 0
			copy(b[referenceAt:], append([]byte(code), 0, 0, 0, 0)[:4])
		})))
		wait := s.ask(t.Context())
		if want < 0 && wait != want || want > 0 && (wait-want).Abs() > want/16 {
			t.Errorf("%s: asked again after %v, want %v", code, wait, want)
		}
		if src := s.report(time.Now()); src.Err == nil || !strings.Contains(src.Err.Error(), code) || src.Synchronized {
			t.Errorf("%s: %+v", code, src)
		}
	}
	_, s, _ := asking(t, newResponder(t, answering(0, func(b []byte) {
		b[stratumAt] = 0
		copy(b[referenceAt:], "RATE")
	})))
	for range 20 {
		s.ask(t.Context())
	}
	if s.every != mostHeld {
		t.Errorf("asked every %v at last, want %v", s.every, mostHeld)
	}
}

// answer is what a server whose clock is ahead by offset says, if the way there
// and back takes delay.
func answer(offset, delay time.Duration) *ntp.Response {
	now := time.Now()
	return &ntp.Response{
		ClockOffset: offset, RTT: delay, Version: 4, Stratum: 1, ReferenceID: 0x47505300,
		Time: now, ReferenceTime: now.Add(-time.Second),
		Timestamps: ntp.ProtocolTimestamps{ClientXmit: now, ServerRecv: now, ServerXmit: now, ClientRecv: now.Add(delay)},
	}
}

// TestFilter: of the last answers the one counts that was least on the way, for
// as long as it is not too old, and jitter is what the others say else.
func TestFilter(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := New(Config{Read: func() (Kernel, error) { return Kernel{}, nil }, Sources: Sources{NTP: []string{"gps"}}})
		s := c.witnesses[0].(*server)
		var next *ntp.Response
		var failed error
		s.query = func(context.Context) (*ntp.Response, error) { return next, failed }
		ask := func(offset, delay time.Duration) *Source {
			next = answer(offset, delay)
			s.ask(t.Context())
			time.Sleep(time.Minute)
			return s.report(time.Now())
		}
		if src := ask(4*ms, 20*ms); src.Offset != 4*ms || src.Jitter != 0 || src.Reference != "GPS" || src.Poll != DefaultEvery {
			t.Errorf("first: %+v", src)
		}
		ask(ms, 6*ms)
		src := ask(5*ms, 25*ms)
		if src.Offset != ms || src.Delay != 6*ms || src.Reach != 7 {
			t.Errorf("the second was least on the way: %+v", src)
		}
		if want := time.Duration(math.Sqrt((9e12 + 16e12) / 2)); src.Jitter != want { // 3 and 4 ms
			t.Errorf("jitter %v, want %v", src.Jitter, want)
		}
		// Two minutes at 15 ppm, and the way itself.
		if want := 1800*us + 90; (src.Dispersion - want).Abs() > us {
			t.Errorf("dispersion %v, want %v", src.Dispersion, want)
		}
		for range filterLen {
			src = ask(9*ms, 30*ms)
		}
		if src.Offset != 9*ms || src.Jitter != 0 || src.Reach != 255 {
			t.Errorf("after %d others: %+v", filterLen, src)
		}
		time.Sleep(time.Hour)
		if src = ask(2*ms, 60*ms); src.Offset != 2*ms {
			t.Errorf("after an hour the new one counts although it was longer on the way: %+v", src)
		}
		failed = errors.New("no route to host")
		for i := range 8 {
			src = ask(0, 0)
			if src.Synchronized != (i < 7) || src.Reach != 255<<(i+1)&0xff {
				t.Errorf("%d answers missed: %+v", i+1, src)
			}
		}
	})
}

// TestNTPStep: what was measured before the clock was set says nothing of it
// now, and what was measured meanwhile is nothing.
func TestNTPStep(t *testing.T) {
	s := new(settable)
	c, _, _ := stepping(t, s)
	c.Ask(Sources{NTP: []string{"h"}})
	w := c.witnesses[0].(*server)
	during := func() {}
	w.query = func(context.Context) (*ntp.Response, error) {
		during()
		return answer(ms, 10*ms), nil
	}
	w.ask(t.Context())
	if src := w.report(time.Now()); !src.Synchronized {
		t.Errorf("before: %+v", src)
	}
	s.set(time.Second, 0)
	if src := w.report(time.Now()); src.Synchronized || src.Answered != 1 {
		t.Errorf("after: %+v", src)
	}
	during = func() { s.set(-time.Second, 0) }
	w.ask(t.Context())
	if src := w.report(time.Now()); src.Synchronized || !errors.Is(src.Err, errStepped) || src.Failed != 1 {
		t.Errorf("set meanwhile: %+v", src)
	}
	during = func() {}
	w.ask(t.Context())
	if src := w.report(time.Now()); !src.Synchronized || src.Offset != ms || len(w.samples) != 1 {
		t.Errorf("asked again: %+v", src)
	}
}

// TestShiftedOffset: the offset is that of the clock's own time.
func TestShiftedOffset(t *testing.T) {
	c := New(Config{
		Read:    func() (Kernel, error) { return Kernel{Offset: 3 * ms, Synchronized: true}, nil },
		Shift:   -time.Second,
		Sources: Sources{NTP: []string{"h"}},
	})
	w := c.witnesses[0].(*server)
	w.query = func(context.Context) (*ntp.Response, error) { return answer(3*ms, 10*ms), nil }
	w.ask(t.Context())
	if src := w.report(time.Now()); src.Offset != time.Second {
		t.Errorf("offset %v, want 1s", src.Offset)
	}
}

// TestRunAsks: running asks each source at once and then again and again; other
// sources take the place of those before, and no goroutine outlasts it.
func TestRunAsks(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		c := New(Config{Read: func() (Kernel, error) { return Kernel{}, nil }})
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() { c.Run(ctx) })
		c.asking.Lock()
		first := newServer(c, "first", time.Minute)
		asked := 0
		first.query = func(context.Context) (*ntp.Response, error) { asked++; return answer(0, ms), nil }
		c.witnesses = []witness{first}
		c.asking.Unlock()
		c.changed <- struct{}{}
		time.Sleep(10*time.Minute + 30*time.Second)
		synctest.Wait()
		if asked < 10 || asked > 12 {
			t.Errorf("asked %d times in ten minutes and a half, want 10 to 12", asked)
		}
		if s := c.State(); len(s.Sources) != 1 || !s.Sources[0].Synchronized {
			t.Errorf("state %+v", s)
		}
		before := asked
		c.Ask(Sources{NTP: nil, Every: time.Hour})
		time.Sleep(time.Hour)
		if s := c.State(); asked != before || len(s.Sources) != 0 {
			t.Errorf("asked %d times more, sources %+v", asked-before, s.Sources)
		}
		cancel()
		run.Wait()
	})
}

func FuzzSample(f *testing.F) {
	good := answering(ms, nil)(make([]byte, 48))
	f.Add(good)
	f.Add(bytes.Repeat([]byte{0xff}, 48))
	f.Fuzz(func(t *testing.T, octets []byte) {
		s := &server{clock: New(Config{Read: func() (Kernel, error) { return Kernel{}, nil }}), every: time.Minute}
		s.query = func(context.Context) (*ntp.Response, error) {
			return queryOver("fuzz", func(_, _ string) (net.Conn, error) {
				return &fuzzConn{answer: octets}, nil
			})
		}
		s.ask(t.Context())
		src := s.report(time.Now())
		if src.Delay < 0 || src.Dispersion < 0 || src.Jitter < 0 || src.MaxError() < 0 || src.Synchronized && (src.Stratum == 0 || src.Stratum > 15) {
			t.Errorf("%+v", src)
		}
	})
}

// A fuzzConn answers each question with what it has, as if it were the answer to
// this one.
type fuzzConn struct {
	net.Conn
	answer, question []byte
}

func (c *fuzzConn) SetDeadline(time.Time) error { return nil }
func (c *fuzzConn) Close() error                { return nil }

func (c *fuzzConn) Write(b []byte) (int, error) {
	c.question = bytes.Clone(b)
	return len(b), nil
}

func (c *fuzzConn) Read(b []byte) (int, error) {
	n := copy(b, c.answer)
	if n >= transmitAt && len(c.question) >= 48 {
		copy(b[originAt:], c.question[transmitAt:48])
	}
	return n, nil
}
