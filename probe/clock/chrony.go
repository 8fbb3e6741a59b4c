package clock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/facebook/time/ntp/chrony"
)

// What [Sources] may say of chronyd beside where it is.
const (
	// ChronyAuto: where chronyd usually takes commands, and if it does not
	// answer there, that is nothing to tell of. The first place is a port that
	// only root can have, so that nobody else answers for it.
	ChronyAuto = "auto"
	ChronyOff  = "off"
)

var chronyPlaces = []string{"127.0.0.1:323", "/run/chrony/chronyd.sock"}

const (
	chronyEvery   = 16 * time.Second
	chronyTimeout = 300 * time.Millisecond
	// chronyMissed is how many answers in a row may fail to come before what it
	// said counts no more.
	chronyMissed = 4
)

// checkChrony returns what is wrong with a place to ask chronyd at.
func checkChrony(place string) error {
	if filepath.IsAbs(place) && !strings.ContainsFunc(place, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return nil
	}
	host, port, err := net.SplitHostPort(place)
	if err == nil {
		var n uint64
		if n, err = strconv.ParseUint(port, 10, 16); n == 0 {
			err = strconv.ErrRange
		}
	}
	if err != nil || host == "" || strings.ContainsFunc(host, notOfHost) {
		return fmt.Errorf("chronyd at %q: want %s, %s, host:port or the path of its socket", place, ChronyAuto, ChronyOff)
	}
	return nil
}

// A tracker asks chronyd how well it tracks its source.
type tracker struct {
	clock  *Clock
	places []string
	auto   bool

	mu       sync.Mutex
	src      Source
	steps    uint64 // of the clock, when the figures were true
	reported bool   // there is, or was, a chronyd
	missing  bool   // and it was told that it does not answer
}

func newTracker(c *Clock, place string) *tracker {
	t := &tracker{clock: c, places: []string{place}, src: Source{Via: ViaChrony, Name: place}}
	if t.auto = place == ChronyAuto; t.auto {
		t.places = slices.Clone(chronyPlaces)
	} else {
		t.reported = true
	}
	t.src.Stratum = unsynchronized
	return t
}

func (t *tracker) ask(ctx context.Context) time.Duration {
	steps, offset := t.clock.Steps().Count, t.clock.offset()
	var answer *chrony.Tracking
	var err error // of the first place, where it has answered before if it has
	place := 0
	for i, p := range t.places {
		a, failed := askChrony(ctx, p)
		if failed == nil {
			answer, place = a, i
			break
		}
		if i == 0 {
			err = failed
		}
	}
	if ctx.Err() != nil {
		return chronyEvery // which is no failure of chronyd's
	}
	var src Source
	if answer != nil {
		src, err = trackingOf(answer)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	reach := t.src.Reach << 1
	if err != nil {
		t.src.Reach, t.src.Err = reach, err
		t.src.Failed++
		if t.reported && !t.missing {
			t.missing = true
			t.clock.log.Warn(fmt.Sprintf("chronyd at %s: %v", t.src.Name, err))
		}
		return chronyEvery
	}
	if t.missing {
		t.missing = false
		t.clock.log.Info(fmt.Sprintf("chronyd at %s answers again", t.src.Name))
	}
	t.places[0], t.places[place] = t.places[place], t.places[0]
	src.Name, src.Answered, src.Failed = t.places[0], t.src.Answered+1, t.src.Failed
	src.Offset -= offset
	src.Reach = reach | 1
	src.Last = time.Now()
	t.src, t.steps, t.reported = src, steps, true
	return chronyEvery
}

func (t *tracker) report(now time.Time) *Source {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.reported {
		return nil
	}
	src := t.src
	if now.Sub(src.Last) > chronyMissed*chronyEvery || t.steps != t.clock.Steps().Count {
		src.Synchronized = false
	}
	return &src
}

// trackingOf reads what chronyd says of itself.
func trackingOf(a *chrony.Tracking) (Source, error) {
	const (
		notSynchronized = 3          // of leap status
		itself          = 0x7f7f0101 // the reference ID of a clock that follows only itself
	)
	src := Source{Via: ViaChrony, Figures: Figures{Stratum: unsynchronized}}
	for _, f := range []struct {
		name string
		to   *time.Duration
		s    float64
	}{
		{"system time", &src.Offset, a.CurrentCorrection},
		{"root delay", &src.Delay, math.Abs(a.RootDelay)}, // over a fast network a little below 0
		{"root dispersion", &src.Dispersion, a.RootDispersion},
		{"RMS offset", &src.Jitter, a.RMSOffset},
		{"update interval", &src.Poll, a.LastUpdateInterval},
	} {
		const most = 1e9 // s, 31 years
		if !(math.Abs(f.s) <= most) || f.to != &src.Offset && f.s < 0 {
			return Source{}, fmt.Errorf("%s of %g s: want 0 to %g s", f.name, f.s, float64(most))
		}
		*f.to = time.Duration(math.Round(f.s * 1e9))
	}
	if src.Wander = a.SkewPPM; !(math.Abs(src.Wander) <= 1e9) {
		return Source{}, fmt.Errorf("skew of %g ppm: want at most a thousand million", src.Wander)
	}
	src.Synchronized = a.LeapStatus != notSynchronized && a.RefID != 0 && a.RefID != itself &&
		a.Stratum > 0 && a.Stratum < unsynchronized
	if src.Synchronized {
		src.Stratum = uint8(a.Stratum)
	}
	switch {
	case a.RefID == 0:
	case len(a.IPAddr) > 0 && !a.IPAddr.IsUnspecified():
		src.Reference = a.IPAddr.String()
	default:
		src.Reference = referenceName(a.RefID)
	}
	return src, nil
}

// referenceName reads a reference ID that is no address: up to four letters, as
// GPS or PPS, or else it is shown as a number.
func referenceName(id uint32) string {
	var name []byte
	for shift := 24; shift >= 0; shift -= 8 {
		b := byte(id >> shift)
		if b == 0 && len(name) > 0 && id<<(32-shift) == 0 {
			break
		}
		if b <= ' ' || b > '~' {
			return fmt.Sprintf("%08X", id)
		}
		name = append(name, b)
	}
	return string(name)
}

// askChrony asks the chronyd at place for its tracking.
func askChrony(ctx context.Context, place string) (*chrony.Tracking, error) {
	conn, err := dialChrony(ctx, place)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if err := conn.SetDeadline(time.Now().Add(chronyTimeout)); err != nil {
		return nil, err
	}
	return requestTracking(conn, rand.Uint32())
}

// requestTracking asks once; the question has the number after seq.
func requestTracking(conn io.ReadWriter, seq uint32) (*chrony.Tracking, error) {
	client := chrony.Client{Connection: conn, Sequence: seq}
	answer, err := client.Communicate(chrony.NewTrackingPacket())
	if err != nil {
		return nil, err
	}
	tracking, ok := answer.(*chrony.ReplyTracking)
	if !ok || tracking.Sequence != client.Sequence {
		return nil, errors.New("the answer is to another question")
	}
	return &tracking.Tracking, nil
}

var sockets atomic.Uint64 // names them

// dialChrony connects to the chronyd at place. One that is asked over a socket in
// the file system answers to one, which is to lie where it can write: that takes
// the rights of root, or chronyd's own.
func dialChrony(ctx context.Context, place string) (net.Conn, error) {
	if !filepath.IsAbs(place) {
		d := net.Dialer{Timeout: chronyTimeout}
		return d.DialContext(ctx, "udp", place)
	}
	if _, err := os.Stat(place); err != nil {
		return nil, err
	}
	own := filepath.Join(filepath.Dir(place), fmt.Sprintf("owl.%d.%d.sock", os.Getpid(), sockets.Add(1)))
	conn, err := net.DialUnix("unixgram",
		&net.UnixAddr{Name: own, Net: "unixgram"}, &net.UnixAddr{Name: place, Net: "unixgram"})
	if err != nil {
		_ = os.Remove(own) // it may have been bound, and not connected
		return nil, err
	}
	if err := os.Chmod(own, 0o666); err != nil {
		conn.Close()
		return nil, errors.Join(err, ignoreMissing(os.Remove(own)))
	}
	return &unixConn{conn, own}, nil
}

// A unixConn removes its own socket from the file system.
type unixConn struct {
	*net.UnixConn
	own string
}

func (c *unixConn) Close() error {
	return errors.Join(c.UnixConn.Close(), ignoreMissing(os.Remove(c.own)))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
