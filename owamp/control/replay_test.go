package control_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/control"

	"github.com/google/go-cmp/cmp"
)

// The client's half is octet for octet what the reference's client sent, told
// what the reference's server answered, however that is cut into packets.
func TestReplayClient(t *testing.T) {
	for _, name := range []string{"open-clean", "ipv6-mixed"} {
		for _, chunk := range []int{1, 16, 1000} {
			t.Run(fmt.Sprintf("%s/%d", name, chunk), func(t *testing.T) {
				bubble.Test(t, func(t *testing.T) {
					near, far := net.Pipe()
					go func() {
						defer far.Close()
						play(t, far, name, chunk, func(*recorded) {})
					}()
					c := connect(t, near)
					specs := recordedSpecs(t, name)
					answers, err := c.Request(t.Context(), specs)
					if err != nil {
						t.Fatal(err)
					}
					if err := c.Start(t.Context()); err != nil {
						t.Fatal(err)
					}
					peer, err := c.Stop(t.Context(), []owamp.SendReport{{SID: answers[0].SID, NextSeq: specs[0].Packets}})
					if err != nil {
						t.Fatal(err)
					}
					if want := []owamp.SendReport{{SID: specs[1].SID, NextSeq: specs[1].Packets}}; !cmp.Equal(want, peer) {
						t.Errorf("peer reports %v, want %v", peer, want)
					}
					_ = c.Close()
				})
			})
		}
	}
}

// The server's half is octet for octet what the reference's server sent, told
// what the reference's client did; whichever side stops first.
func TestReplayServer(t *testing.T) {
	for _, name := range []string{"open-clean", "ipv6-mixed"} {
		for _, serverFirst := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", name, serverFirst), func(t *testing.T) {
				bubble.Test(t, func(t *testing.T) {
					messages := conversation(t, name)
					if serverFirst {
						n := len(messages)
						messages[n-1], messages[n-2] = messages[n-2], messages[n-1]
					}
					h, cfg := recordedHandler(t, name)
					conn, ended := serve(t.Context(), cfg, h)
					for _, m := range messages {
						if !m.fromServer {
							write(conn, m.octets, 7)
							continue
						}
						if m.name == "Stop-Sessions" && serverFirst {
							h.done <- struct{}{}
						}
						if m.name == "Server-Greeting" {
							m.octets[15] = byte(owamp.ModeOpen) // the reference offered the others too
						}
						if got := read(t, conn, len(m.octets)); !bytes.Equal(got, m.octets) {
							t.Errorf("%s:\n%x, want\n%x", m.name, got, m.octets)
						}
					}
					conn.Close()
					if err := <-ended; err != nil {
						t.Error(err)
					}
					if diff := cmp.Diff([]stopCall{{[]owamp.SendReport{{SID: answered(t, name)[0].SID, NextSeq: h.specs[0].Packets}}, 0, cfg.Now()}}, h.stops); diff != "" {
						t.Errorf("the handler was told (-want +got):\n%s", diff)
					}
				})
			})
		}
	}
}

// A recorded is one message of a conversation with the reference; ../testdata
// tells where they come from.
type recorded struct {
	fromServer bool
	name       string
	octets     []byte
}

// The sessions of open-clean.
var (
	recordedTo   = mustSID("0a620002eeaba5ef91118c1997e743f8")
	recordedFrom = mustSID("0a620001eeaba5ef9214bdfd6fa69e0f")
)

func mustSID(s string) owamp.SID {
	sid, err := owamp.ParseSID(s)
	if err != nil {
		panic(err)
	}
	return sid
}

// conversation reads a recorded one, up to Stop-Sessions.
func conversation(tb testing.TB, name string) []recorded {
	tb.Helper()
	messages := recordedMessages(tb, "../testdata/control/"+name+".txt")
	return slices.DeleteFunc(messages, func(m recorded) bool { return strings.HasPrefix(m.name, "Fetch") })
}

// fetching reads what was left out there, to the end of the session that was
// fetched.
func fetching(tb testing.TB, name string) []recorded {
	tb.Helper()
	messages := recordedMessages(tb, "../testdata/control/"+name+".txt")
	return append(messages[len(messages)-2:], recordedMessages(tb, "testdata/"+name+".txt")...)
}

func recordedMessages(tb testing.TB, path string) []recorded {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	var messages []recorded
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		octets, err := hex.DecodeString(fields[2])
		if err != nil {
			tb.Fatal(err)
		}
		messages = append(messages, recorded{fields[0] == "S", fields[1], octets})
	}
	return messages
}

// play is the server of a recorded conversation, one octet or more a write,
// after change has had a look at each message.
func play(t *testing.T, conn net.Conn, name string, chunk int, change func(*recorded)) {
	playAll(t, conn, conversation(t, name), chunk, change)
}

func playAll(t *testing.T, conn net.Conn, messages []recorded, chunk int, change func(*recorded)) {
	for _, m := range messages {
		sent := bytes.Clone(m.octets)
		change(&m)
		if !m.fromServer {
			if got := read(t, conn, len(sent)); !bytes.Equal(got, sent) {
				t.Errorf("client's %s:\n%x, want\n%x", m.name, got, sent)
			}
			continue
		}
		write(conn, m.octets, chunk)
	}
}

func read(t *testing.T, conn net.Conn, n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(conn, b); err != nil {
		t.Errorf("reading %d octets: %v", n, err)
	}
	return b
}

// write sends b in pieces, until the peer has had enough.
func write(conn net.Conn, b []byte, chunk int) {
	for len(b) > 0 {
		n := min(chunk, len(b))
		if _, err := conn.Write(b[:n]); err != nil {
			return
		}
		b = b[n:]
	}
}

// recordedSpecs are the sessions that a recorded client asks for.
func recordedSpecs(tb testing.TB, name string) []owamp.SessionSpec {
	var specs []owamp.SessionSpec
	for _, m := range conversation(tb, name) {
		if m.name != "Request-Session" {
			continue
		}
		spec, _, err := owamp.ParseRequest((*[owamp.RequestSize]byte)(m.octets))
		if err != nil {
			tb.Fatal(err)
		}
		slot, err := owamp.ParseSlot((*[owamp.SlotSize]byte)(m.octets[owamp.RequestSize:]))
		if err != nil {
			tb.Fatal(err)
		}
		spec.Slots = []owamp.Slot{slot}
		specs = append(specs, spec)
	}
	return specs
}

// startRecorded goes with a client of open-clean as far as Start-Ack.
func startRecorded(t *testing.T, c *control.Client) {
	t.Helper()
	if _, err := c.Request(t.Context(), recordedSpecs(t, "open-clean")); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// answered are the answers of a recorded server.
func answered(tb testing.TB, name string) []owamp.Accepted {
	var answers []owamp.Accepted
	for _, m := range conversation(tb, name) {
		if m.name != "Accept-Session" {
			continue
		}
		a, err := owamp.ParseAcceptSession((*[owamp.AcceptSessionSize]byte)(m.octets))
		if err != nil {
			tb.Fatal(err)
		}
		answers = append(answers, a)
	}
	return answers
}

// recordedHandler answers as a recorded server did, with the randomness and
// the time that it had.
func recordedHandler(tb testing.TB, name string) (*fakeHandler, control.ServerConfig) {
	messages := conversation(tb, name)
	cfg := openMode()
	greeting := owamp.ParseServerGreeting((*[owamp.ServerGreetingSize]byte)(messages[0].octets))
	cfg.Modes = owamp.ModeOpen
	cfg.Rand = io.MultiReader(bytes.NewReader(greeting.Challenge[:]), bytes.NewReader(greeting.Salt[:]))
	start, err := owamp.ParseServerStart((*[owamp.ServerStartSize]byte)(messages[2].octets))
	if err != nil {
		tb.Fatal(err)
	}
	cfg.Start = start.Start
	specs, answers := recordedSpecs(tb, name), answered(tb, name)
	cfg.Peer = specs[1].Receiver.Addr()
	h := newHandler()
	h.answer = func(*owamp.SessionSpec) owamp.Accepted { return answers[len(h.specs)-1] }
	h.reports = []owamp.SendReport{{SID: specs[1].SID, NextSeq: specs[1].Packets}}
	return h, cfg
}
