package clock

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Sources say who is asked how good the clock is, beside the kernel. Two that
// are equal say the same. The zero value asks nobody.
type Sources struct {
	// Chrony is where chronyd takes commands: [ChronyAuto], host:port, or the
	// path of its socket; empty or [ChronyOff]: it is not asked.
	Chrony string
	// NTP are servers that are queried, each a host or host:port.
	NTP []string
	// Every is the time between two queries of an NTP server, which is varied by
	// a sixteenth of itself; 0 means [DefaultEvery].
	Every time.Duration
}

// Bounds of Sources.
const (
	DefaultEvery = 64 * time.Second
	LeastEvery   = 16 * time.Second // the least of RFC 5905 for who is no server's own client
	MostEvery    = 36 * time.Hour   // its greatest
	MaxServers   = 16
)

// Check returns what is wrong with s.
func (s *Sources) Check() error {
	switch s.Chrony {
	case "", ChronyOff, ChronyAuto:
	default:
		if err := checkChrony(s.Chrony); err != nil {
			return err
		}
	}
	if len(s.NTP) > MaxServers {
		return fmt.Errorf("%d NTP servers: want at most %d", len(s.NTP), MaxServers)
	}
	for i, server := range s.NTP {
		if _, err := serverAddress(server); err != nil {
			return err
		}
		if slices.Contains(s.NTP[:i], server) {
			return fmt.Errorf("NTP server %q: want it once", server)
		}
	}
	if s.Every != 0 && (s.Every < LeastEvery || s.Every > MostEvery) {
		return fmt.Errorf("queries of NTP servers every %v: want at least %v and at most %v", s.Every, LeastEvery, MostEvery)
	}
	return nil
}

// serverAddress returns the host:port of an NTP server.
func serverAddress(server string) (string, error) {
	const ntpPort = "123"
	wrong := func() (string, error) {
		return "", fmt.Errorf("NTP server %q: want a host or host:port", server)
	}
	host, port := strings.TrimSuffix(strings.TrimPrefix(server, "["), "]"), ntpPort
	if strings.Count(host, ":") == 1 || strings.Contains(server, "]:") {
		var err error
		if host, port, err = net.SplitHostPort(server); err != nil {
			return wrong()
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" || len(host) > 253 || strings.ContainsFunc(host, notOfHost) {
		return wrong()
	}
	return net.JoinHostPort(host, port), nil
}

// notOfHost reports whether r can be in no name or address of a host.
func notOfHost(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune(`/\@,;"'()[]<>`, r)
}

// A Via is how a [Source] is asked.
type Via string

const (
	ViaChrony Via = "chrony" // its tracking, by its command protocol
	ViaNTP    Via = "ntp"    // queries (RFC 5905)
)

// Figures are what is measured of a clock, by the names that ntpq, and
// esmond's event types ntp-*, have for them.
type Figures struct {
	Offset     time.Duration // to be added to the clock to make it right: ntp-offset
	Delay      time.Duration // round trip to the reference clock: ntp-delay
	Dispersion time.Duration // error added up on the way from there: ntp-dispersion
	Jitter     time.Duration // RMS of offsets: ntp-jitter
	Wander     float64       // error of the frequency, ppm; 0 of an NTP server: ntp-wander
	Poll       time.Duration // time between two measurements: ntp-polling-interval
	Reach      uint8         // a bit for each of the last 8 questions that was answered, the last one's is the least: ntp-reach
	Stratum    uint8         // of the source, 16 if it is not synchronized; of chronyd, its own: ntp-stratum
}

// MaxError returns how far the clock may be off by these figures.
func (f *Figures) MaxError() time.Duration {
	return f.Offset.Abs() + f.Delay/2 + f.Dispersion
}

// A Source is what somebody who was asked says of the clock.
type Source struct {
	Via       Via
	Name      string // as it was named; of chronyd where it answers
	Reference string // whom it follows, empty if that is not known
	Figures
	Synchronized bool      // it follows a source, and has answered lately
	Last         time.Time // when it has answered last; zero: never
	Answered     uint64    // questions that it has answered, and that were of use
	Failed       uint64    // the others
	Err          error     // why it did not answer the last question
}

// unsynchronized is the stratum of what follows nobody (RFC 5905 section 7.3).
const unsynchronized = 16

// A witness can be asked how good the clock is.
type witness interface {
	// ask asks once, and says how long to wait before it is asked again: for
	// ever if that is negative.
	ask(ctx context.Context) (wait time.Duration)
	// report returns what is known at the time now, nil if nothing can be.
	report(now time.Time) *Source
}

// Ask changes who is asked. It returns when the state says what chronyd says.
func (c *Clock) Ask(s Sources) {
	c.setSources(s)
	c.sample()
}

func (c *Clock) setSources(s Sources) {
	c.asking.Lock()
	defer c.asking.Unlock()
	if s.Every == 0 {
		s.Every = DefaultEvery
	}
	if s.Chrony == c.sources.Chrony && slices.Equal(s.NTP, c.sources.NTP) && s.Every == c.sources.Every {
		return
	}
	s.NTP = slices.Clone(s.NTP)
	c.sources, c.witnesses = s, nil
	if s.Chrony != "" && s.Chrony != ChronyOff {
		t := newTracker(c, s.Chrony)
		t.ask(context.Background()) // on this host, and with a short time-out
		c.witnesses = append(c.witnesses, t)
	}
	for _, name := range s.NTP {
		c.witnesses = append(c.witnesses, newServer(c, name, s.Every))
	}
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// askAll asks all witnesses, again and again, until ctx is done.
func (c *Clock) askAll(ctx context.Context, work *sync.WaitGroup) {
	c.asking.Lock()
	defer c.asking.Unlock()
	for _, w := range c.witnesses {
		work.Go(func() {
			for wait := w.ask(ctx); wait >= 0; wait = w.ask(ctx) {
				timer := time.NewTimer(wait)
				select {
				case <-ctx.Done():
					timer.Stop()
					return
				case <-timer.C:
				}
			}
		})
	}
}

// reports returns what the witnesses say.
func (c *Clock) reports(now time.Time) []Source {
	c.asking.Lock()
	defer c.asking.Unlock()
	var all []Source
	for _, w := range c.witnesses {
		if s := w.report(now); s != nil {
			all = append(all, *s)
		}
	}
	return all
}
