package clock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/beevik/ntp"
)

const (
	ntpTimeout = 3 * time.Second
	// filterLen is how many answers a server's figures are of, as RFC 5905
	// section 10 has it.
	filterLen = 8
	// frequencyTolerance is by how much a clock may go wrong, as RFC 5905 has it:
	// what was measured loses so much for each second since.
	frequencyTolerance = 15e-6
	// mostHeld bounds how long a query that is rated may make the next one wait.
	mostHeld = time.Hour
)

// The kiss codes of RFC 5905 section 7.4 that clients obey: never again, and less
// often. The others only say why there is no time to be had, which may be
// otherwise soon: a server that has not been synchronized yet answers with INIT,
// or with none.
const (
	kissDeny     = "DENY"
	kissRestrict = "RSTR"
	kissRate     = "RATE"
)

// A server is an NTP server that is queried, and never followed.
type server struct {
	clock *Clock
	name  string
	every time.Duration                                    // between queries; longer if the server says so
	query func(ctx context.Context) (*ntp.Response, error) // replaced in tests
	at    string                                           // the address that it is queried at; empty: by its name

	mu      sync.Mutex
	src     Source
	samples []sample // the last ones, newest last
	steps   uint64   // of the clock, when the samples were taken
	of      string   // the address that they are of
	missing bool     // it was told that the server does not answer
}

// A sample is what one answer says.
type sample struct {
	at                        time.Time
	offset, delay, dispersion time.Duration // from the server
	rootDelay, rootDispersion time.Duration // of the server
	stratum                   uint8
	reference                 string
}

// aged returns the dispersion of the sample at the time now.
func (s *sample) aged(now time.Time) time.Duration {
	return s.dispersion + time.Duration(frequencyTolerance*float64(now.Sub(s.at)))
}

func newServer(c *Clock, name string, every time.Duration) *server {
	s := &server{clock: c, name: name, every: every}
	s.src = Source{Via: ViaNTP, Name: name, Figures: Figures{Stratum: unsynchronized, Poll: every}}
	s.query = s.queryAgain
	return s
}

// queryAgain queries the server where it has answered last, if it has: a name may
// stand for many servers, and the samples are of one.
func (s *server) queryAgain(ctx context.Context) (*ntp.Response, error) {
	address := s.at
	if address == "" {
		var err error
		if address, err = serverAddress(s.name); err != nil {
			return nil, err
		}
	}
	r, at, err := queryNTP(ctx, address)
	s.at = at
	return r, err
}

// queryNTP asks the server at address once, and says where that is.
func queryNTP(ctx context.Context, address string) (r *ntp.Response, at string, err error) {
	ctx, cancel := context.WithTimeout(ctx, ntpTimeout)
	defer cancel()
	r, err = queryOver(address, func(_, remote string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "udp", remote)
		if err == nil {
			at = conn.RemoteAddr().String()
			context.AfterFunc(ctx, func() { conn.Close() })
		}
		return conn, err
	})
	return r, at, err
}

// queryOver is queryNTP over a connection that dial makes.
func queryOver(address string, dial func(local, remote string) (net.Conn, error)) (*ntp.Response, error) {
	return ntp.QueryWithOptions(address, ntp.QueryOptions{
		Timeout:    ntpTimeout,
		Extensions: []ntp.Extension{exponents{}},
		Dialer:     dial,
	})
}

// exponents refuses answers whose poll interval or precision cannot be: package
// ntp shifts by them, and panics at -128.
type exponents struct{}

// ProcessQuery adds nothing to a query.
func (exponents) ProcessQuery(*bytes.Buffer) error { return nil }

// ProcessResponse looks at an answer before it is read.
func (exponents) ProcessResponse(answer []byte) error {
	const poll, precision, most = 2, 3, 62
	if len(answer) <= precision {
		return fmt.Errorf("%d octets: want at least 48", len(answer))
	}
	for _, at := range []int{poll, precision} {
		if e := int8(answer[at]); e < -most || e > most {
			return fmt.Errorf("poll interval or precision of 2^%d s: want an exponent from -%d to %d", e, most, most)
		}
	}
	return nil
}

// errStepped is why an answer is of no use.
var errStepped = errors.New("the clock stepped while the server was asked")

func (s *server) ask(ctx context.Context) time.Duration {
	steps, correction := s.clock.Steps(), s.clock.offset()
	r, err := s.query(ctx)
	if ctx.Err() != nil {
		return s.every // which is no failure of the server's
	}
	now := time.Now()
	var m sample
	if err == nil {
		m, err = sampleOf(r, now)
	}
	if err == nil && s.clock.Steps() != steps {
		err = errStepped
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.src.Reach <<= 1
	s.src.Err = err
	if err == nil {
		if s.steps != steps.Count || s.of != s.at {
			s.samples, s.steps, s.of = nil, steps.Count, s.at
		}
		m.offset -= correction
		if len(s.samples) == filterLen {
			s.samples = append(s.samples[:0], s.samples[1:]...)
		}
		s.samples = append(s.samples, m)
		s.src.Reach |= 1
		s.src.Answered++
		s.src.Last = now
	} else {
		s.src.Failed++
		s.at = ""
	}
	s.tell(err)
	if r != nil && r.IsKissOfDeath() {
		switch r.KissCode {
		case kissDeny, kissRestrict:
			return -1
		case kissRate:
			s.every = max(s.every, min(2*s.every, mostHeld))
			s.src.Poll = s.every
		}
	}
	return s.every + rand.N(s.every/8) - s.every/16
}

// tell says once that the server does not answer, and that it does again. s.mu is
// held.
func (s *server) tell(err error) {
	switch missing := err != nil; {
	case missing == s.missing || errors.Is(err, errStepped):
		return
	case missing:
		s.clock.log.Warn(fmt.Sprintf("NTP server %s: %v", s.name, err))
	default:
		s.clock.log.Info(fmt.Sprintf("NTP server %s answers again", s.name))
	}
	s.missing = err != nil
}

// sampleOf reads an answer that came at now.
func sampleOf(r *ntp.Response, now time.Time) (sample, error) {
	if r.IsKissOfDeath() {
		return sample{}, kissed(r.KissCode)
	}
	if err := r.Validate(); err != nil {
		return sample{}, err
	}
	t := &r.Timestamps
	trip, precision := t.ClientRecv.Sub(t.ClientXmit), min(max(r.Precision, 0), time.Second)
	if held := t.ServerXmit.Sub(t.ServerRecv); held > trip+precision || trip < 0 {
		return sample{}, fmt.Errorf("it says that it took %v to answer, which it did within %v", held, trip)
	}
	m := sample{
		at:             now,
		offset:         r.ClockOffset,
		delay:          r.RTT,
		dispersion:     precision + time.Duration(frequencyTolerance*float64(trip)),
		rootDelay:      r.RootDelay,
		rootDispersion: r.RootDispersion,
		stratum:        r.Stratum,
		reference:      referenceName(r.ReferenceID),
	}
	if r.Stratum > 1 {
		m.reference = r.ReferenceString() // an IPv4 address, or what hashes an IPv6 one
	}
	return m, nil
}

// kissed says in words what a kiss code means.
func kissed(code string) error {
	switch code {
	case kissDeny, kissRestrict:
		return fmt.Errorf("it wants no queries (kiss code %q), and gets no more", code)
	case kissRate:
		return fmt.Errorf("it wants fewer queries (kiss code %q)", code)
	}
	return fmt.Errorf("it is not synchronized (kiss code %q)", code)
}

// report makes figures of the samples, as the clock filter of RFC 5905 section 10
// does: those of the one that says most exactly how far the clock is off.
func (s *server) report(now time.Time) *Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	src := s.src
	if len(s.samples) == 0 || src.Reach == 0 || s.steps != s.clock.Steps().Count {
		return &src
	}
	best := &s.samples[0]
	for i := range s.samples {
		if m := &s.samples[i]; m.delay/2+m.aged(now) < best.delay/2+best.aged(now) {
			best = m
		}
	}
	var squares float64
	for i := range s.samples {
		d := float64(s.samples[i].offset - best.offset)
		squares += d * d
	}
	src.Offset = best.offset
	src.Delay = best.delay + best.rootDelay
	src.Dispersion = best.aged(now) + best.rootDispersion
	src.Jitter = time.Duration(math.Sqrt(squares / float64(max(1, len(s.samples)-1))))
	src.Stratum, src.Reference, src.Synchronized = best.stratum, best.reference, true
	return &src
}
