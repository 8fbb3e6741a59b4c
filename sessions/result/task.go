package result

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"time"

	"owl/owamp"
)

// A Test is a type of test, as pScheduler calls them.
type Test string

// The types of test that there are results of.
const (
	LatencyBG Test = "latencybg" // a stream, as powstream measures it
	Latency   Test = "latency"   // one test, as owping makes it
)

// A TaskConfig is what all results of a stream have in common.
type TaskConfig struct {
	Test        Test
	Tool        string // powstream or owping, whichever program this is
	ToolVersion string
	Name        string          // of the stream, among others between the same ends; may be empty
	Host        string          // this host's name: the participant, and where addresses of tasks and runs lead unless another host is given
	Local       string          // this end of the path as somebody has named it; empty: Host
	Remote      string          // the other end
	Receives    bool            // this host receives the test packets: flip
	ControlPort uint16          // of the server; 0: is not told
	DataPorts   [2]uint16       // the least and the greatest; 0 and 0: is not told
	IPVersion   int             // 4 or 6, if only that will do, else 0
	Reference   json.RawMessage // what the results are to carry for those who read them; may be nil
	Added       time.Time       // when the stream was made

	Packets  uint32         // that a result is about
	Interval owamp.Interval // between two of them, in the mean
	Timeout  owamp.Interval // after which one is lost
	Padding  uint32         // octets
	TOS      uint8          // the octet of type of service; 0 is not told
	Raw      bool           // results have their packets
}

// A Task is a TaskConfig that was checked. It does not change.
type Task struct {
	cfg  TaskConfig
	id   string
	spec json.RawMessage
}

// maxReference bounds a reference, in octets.
const maxReference = 1 << 20

// NewTask returns the task that cfg describes. What identifies it is its name,
// its ends and its parameters, so that it is the same after a restart.
func NewTask(cfg TaskConfig) (*Task, error) {
	switch {
	case cfg.Test != LatencyBG && cfg.Test != Latency:
		return nil, fmt.Errorf("test %q: want %s or %s", cfg.Test, LatencyBG, Latency)
	case cfg.Host == "" || cfg.Remote == "":
		return nil, errors.New("a task needs the names of both hosts")
	case len(cfg.Reference) > maxReference:
		return nil, fmt.Errorf("a reference of %d octets: want at most %d", len(cfg.Reference), maxReference)
	case cfg.Reference != nil && !json.Valid(cfg.Reference):
		return nil, errors.New("the reference is not JSON")
	}
	if cfg.Local == "" {
		cfg.Local = cfg.Host
	}
	t := &Task{cfg: cfg}
	var err error
	if t.spec, err = json.Marshal(t.specDocument()); err != nil {
		return nil, err
	}
	t.id = uuid("task", []byte(cfg.Test), []byte(cfg.Name), []byte(cfg.Host), t.spec)
	return t, nil
}

// ID returns the UUID of the task.
func (t *Task) ID() string { return t.id }

// Length returns how long the packets of one result are expected to take.
func (t *Task) Length() time.Duration {
	n, interval := time.Duration(t.cfg.Packets), t.cfg.Interval.Duration()
	if n > 0 && interval > math.MaxInt64/n {
		return math.MaxInt64
	}
	// An interval such as 0.1 s is a little less in units of 2^-32 s.
	return (n * interval).Round(time.Millisecond)
}

// Href returns the address of the task at a host, which may have a port; an empty
// one is the task's own.
func (t *Task) Href(host string) string {
	if host == "" {
		host = t.cfg.Host
	}
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		host = "[" + host + "]"
	}
	return "https://" + host + "/pscheduler/tasks/" + t.id
}

// source and dest return the ends in the direction of the packets.
func (t *Task) source() string {
	if t.cfg.Receives {
		return t.cfg.Remote
	}
	return t.cfg.Local
}

func (t *Task) dest() string {
	if t.cfg.Receives {
		return t.cfg.Local
	}
	return t.cfg.Remote
}

// specDocument is the specification of the test.
type specDocument struct {
	Schema      int        `json:"schema"`
	Source      string     `json:"source"`
	Dest        string     `json:"dest"`
	Flip        bool       `json:"flip"`
	Duration    string     `json:"duration,omitempty"` // only of latencybg
	Packets     uint32     `json:"packet-count"`
	Interval    float64    `json:"packet-interval"`
	Timeout     float64    `json:"packet-timeout"`
	Padding     uint32     `json:"packet-padding"`
	ControlPort uint16     `json:"ctrl-port,omitempty"`
	DataPorts   *portRange `json:"data-ports,omitempty"`
	IPVersion   int        `json:"ip-version,omitempty"`
	TOS         uint8      `json:"ip-tos,omitempty"`
	BucketWidth float64    `json:"bucket-width"`
	Raw         bool       `json:"output-raw"`
}

type portRange struct {
	Lower uint16 `json:"lower"`
	Upper uint16 `json:"upper"`
}

// labelUnit is the unit of the histogram's labels in seconds: what pScheduler
// calls the width of a bucket, for its labels are delays in such widths.
const labelUnit = 0.001

func (t *Task) specDocument() *specDocument {
	c := &t.cfg
	d := &specDocument{
		Schema:      1,
		Source:      t.source(),
		Dest:        t.dest(),
		Flip:        c.Receives,
		Packets:     c.Packets,
		Interval:    seconds(c.Interval),
		Timeout:     seconds(c.Timeout),
		Padding:     c.Padding,
		ControlPort: c.ControlPort,
		IPVersion:   c.IPVersion,
		TOS:         c.TOS,
		BucketWidth: labelUnit,
		Raw:         c.Raw,
	}
	if c.Test == LatencyBG {
		d.Duration = iso(t.Length())
	}
	if c.DataPorts != [2]uint16{} {
		d.DataPorts = &portRange{c.DataPorts[0], c.DataPorts[1]}
	}
	return d
}

// seconds returns the number of fewest digits that is i when it is read.
func seconds(i owamp.Interval) float64 {
	for digits := range 17 {
		v, err := strconv.ParseFloat(strconv.FormatFloat(i.Seconds(), 'g', digits+1, 64), 64)
		if err == nil && owamp.IntervalSeconds(v) == i {
			return v
		}
	}
	return i.Seconds()
}

// uuid returns a UUID made of what is given (RFC 9562 section 5.8).
func uuid(kind string, parts ...[]byte) string {
	h := sha256.New()
	fmt.Fprintf(h, "owl %s\n", kind)
	for _, p := range parts {
		_ = binary.Write(h, binary.BigEndian, uint64(len(p))) // a hash takes everything
		h.Write(p)
	}
	id := h.Sum(nil)[:16]
	id[6] = id[6]&0x0f | 0x80 // version 8
	id[8] = id[8]&0x3f | 0x80 // the variant of the RFC
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}
