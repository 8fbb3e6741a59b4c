package control_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/control"
	"owl/owamp/internal/seal"

	"github.com/google/go-cmp/cmp"
)

// sealedKeys are the keys of the recorded conversations in the modes that have
// some.
var sealedKeys = map[string]seal.Keys{
	"auth-clean": keys("aa758eeda57f76197f2a6b1f2254e80c", "af9a5a6a68b843837fea26bc3b1031857e5a98a2e05d782cea8f4060adbf57c3"),
	"enc-clean":  keys("2c9b383c090fca68dff5c86894491825", "6fc13dd2784c869b468842c7ed69f02e6e117c1882d6022fa531b42ddd35faff"),
}

func keys(aes, hmac string) seal.Keys {
	a, err1 := hex.DecodeString(aes)
	h, err2 := hex.DecodeString(hmac)
	if err := errors.Join(err1, err2); err != nil {
		panic(err)
	}
	return seal.Keys{AES: [16]byte(a), HMAC: [32]byte(h)}
}

const alicePhrase = "correct horse battery"

// passphrases know alice and bob.
func passphrases(user string) ([]byte, bool) {
	phrase, ok := map[string]string{"alice": alicePhrase, "bob": "b"}[user]
	return []byte(phrase), ok
}

// asAlice is a client in the modes m.
func asAlice(m owamp.Mode) control.ClientConfig {
	return control.ClientConfig{Modes: m, User: "alice", Passphrase: func() ([]byte, error) { return []byte(alicePhrase), nil }}
}

// anyMode is a server that offers all modes.
func anyMode() control.ServerConfig {
	cfg := openMode()
	cfg.Modes = owamp.ModeOpen | owamp.ModeAuthenticated | owamp.ModeEncrypted
	cfg.Passphrase = passphrases
	return cfg
}

// A sealedRecording is a recorded conversation in a mode that has keys.
type sealedRecording struct {
	name     string
	messages []recorded // as they were on the wire
	greeting owamp.ServerGreeting
	response owamp.SetUpResponse
	start    owamp.ServerStart
	specs    []owamp.SessionSpec
	answers  []owamp.Accepted
}

// sealed reads one, and opens it.
func sealed(t *testing.T, name string) *sealedRecording {
	t.Helper()
	r := &sealedRecording{name: name, messages: recordedMessages(t, "testdata/"+name+".txt")}
	k := sealedKeys[name]
	var client, server *seal.Stream
	for _, m := range r.messages {
		b := bytes.Clone(m.octets)
		from := client
		if m.fromServer {
			from = server
		}
		hmac := func(at int) {
			t.Helper()
			if !from.Check((*[seal.BlockSize]byte)(b[at:])) {
				t.Fatalf("%s: %s: wrong HMAC at %d", name, m.name, at)
			}
		}
		switch m.name {
		case "Server-Greeting":
			r.greeting = owamp.ParseServerGreeting((*[owamp.ServerGreetingSize]byte)(b))
		case "Set-Up-Response":
			r.response = owamp.ParseSetUpResponse((*[owamp.SetUpResponseSize]byte)(b))
			client = seal.NewOpening(&k, r.response.IV)
		case "Server-Start":
			server = seal.NewOpening(&k, [16]byte(b[16:]))
			server.Blocks(b[32:])
			r.start, _ = owamp.ParseServerStart((*[owamp.ServerStartSize]byte)(b))
		case "Request-Session":
			from.Blocks(b[:96])
			hmac(96)
			from.Blocks(b[112:128])
			hmac(128)
			spec, _, err := owamp.ParseRequest((*[owamp.RequestSize]byte)(b))
			if err != nil {
				t.Fatal(err)
			}
			slot, err := owamp.ParseSlot((*[owamp.SlotSize]byte)(b[112:]))
			if err != nil {
				t.Fatal(err)
			}
			spec.Slots = []owamp.Slot{slot}
			r.specs = append(r.specs, spec)
		case "Fetched":
			return r
		default:
			from.Blocks(b[:len(b)-seal.BlockSize])
			hmac(len(b) - seal.BlockSize)
			if m.name == "Accept-Session" {
				a, err := owamp.ParseAcceptSession((*[owamp.AcceptSessionSize]byte)(b))
				if err != nil {
					t.Fatal(err)
				}
				r.answers = append(r.answers, a)
			}
		}
	}
	t.Fatalf("%s ends early", name)
	return nil
}

// The client's half is octet for octet what the reference's client sent, in the
// modes with keys too.
func TestReplaySealedClient(t *testing.T) {
	for name, k := range sealedKeys {
		for _, chunk := range []int{1, 16, 1000} {
			t.Run(fmt.Sprintf("%s/%d", name, chunk), func(t *testing.T) {
				bubble.Test(t, func(t *testing.T) {
					r := sealed(t, name)
					near, far := net.Pipe()
					go func() {
						defer far.Close()
						playAll(t, far, r.messages, chunk, func(*recorded) {})
					}()
					cfg := asAlice(r.response.Mode)
					cfg.Rand = io.MultiReader(bytes.NewReader(k.AES[:]), bytes.NewReader(k.HMAC[:]), bytes.NewReader(r.response.IV[:]))
					c, err := control.Connect(t.Context(), near, cfg)
					if err != nil {
						t.Fatal(err)
					}
					if c.Mode() != r.response.Mode || c.ServerStart() != r.start.Start {
						t.Errorf("mode %v, server start %v; want %v, %v", c.Mode(), c.ServerStart(), r.response.Mode, r.start.Start)
					}
					answers, err := c.Request(t.Context(), r.specs)
					if err != nil {
						t.Fatal(err)
					}
					if err := c.Start(t.Context()); err != nil {
						t.Fatal(err)
					}
					peer, err := c.Stop(t.Context(), []owamp.SendReport{{SID: answers[0].SID, NextSeq: r.specs[0].Packets}})
					if err != nil {
						t.Fatal(err)
					}
					if want := []owamp.SendReport{{SID: r.specs[1].SID, NextSeq: r.specs[1].Packets}}; !cmp.Equal(want, peer) {
						t.Errorf("peer reports %v, want %v", peer, want)
					}
					got, err := fetch(t.Context(), c, answers[0].SID, 0, math.MaxUint32)
					if err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(keptFile(t, "../owp/testdata/"+name+"/c2s.owp"), got, compareKept); diff != "" {
						t.Errorf("fetched (-want +got):\n%s", diff)
					}
					_ = c.Close()
				})
			})
		}
	}
}

// The server's half is octet for octet what the reference's server sent.
func TestReplaySealedServer(t *testing.T) {
	for name := range sealedKeys {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				r := sealed(t, name)
				k := keptFile(t, "../owp/testdata/"+name+"/c2s.owp")
				plain := newHandler()
				plain.answer = func(*owamp.SessionSpec) owamp.Accepted { return r.answers[len(plain.specs)-1] }
				plain.reports = []owamp.SendReport{{SID: r.specs[1].SID, NextSeq: r.specs[1].Packets}}
				h := &fakeFetcher{fakeHandler: plain, answerFetch: k.answer}
				cfg := anyMode()
				cfg.Rand = io.MultiReader(bytes.NewReader(r.greeting.Challenge[:]), bytes.NewReader(r.greeting.Salt[:]), bytes.NewReader(r.start.IV[:]))
				cfg.Start = r.start.Start
				cfg.Peer = r.specs[1].Receiver.Addr()
				conn, ended := serve(t.Context(), cfg, h)
				for _, m := range r.messages {
					if !m.fromServer {
						write(conn, m.octets, 7)
					} else if got := read(t, conn, len(m.octets)); !bytes.Equal(got, m.octets) {
						t.Errorf("%s:\n%x, want\n%x", m.name, got, m.octets)
					}
				}
				conn.Close()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff([]stopCall{{[]owamp.SendReport{{SID: r.answers[0].SID, NextSeq: r.specs[0].Packets}}, 0, cfg.Now()}}, h.stops); diff != "" {
					t.Errorf("the handler was told (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// The strictest mode that both ends allow is taken, and keys for it are the
// same on both ends.
func TestModes(t *testing.T) {
	const o, a, e = owamp.ModeOpen, owamp.ModeAuthenticated, owamp.ModeEncrypted
	for _, tt := range []struct {
		offered, wants, taken owamp.Mode
		user                  string
		err                   string
	}{
		{o | a | e, o | a | e, e, "alice", ""},
		{o | a, o | a | e, a, "alice", ""},
		{o | a | e, o | a, a, "alice", ""},
		{o, o | a | e, o, "alice", ""},
		{o | a | e, o | a | e, o, "", ""},
		{a | e, o | a | e, 0, "", "the server offers AE, this client can O"},
		{o | a | e, a | e, 0, "", "the server offers AEO, this client can none without a user and a pass-phrase"},
		{a | e, o, 0, "alice", "the server offers AE, this client can O"},
		{o | a, e, 0, "alice", "the server offers AO, this client can E"},
	} {
		bubble.Test(t, func(t *testing.T) {
			cfg := anyMode()
			cfg.Modes = tt.offered
			h := &admitter{fakeHandler: newHandler()}
			conn, ended := serve(t.Context(), cfg, h)
			client := asAlice(tt.wants)
			client.User = tt.user
			c, err := control.Connect(t.Context(), conn, client)
			if tt.err != "" {
				if !errors.Is(err, control.ErrNoCommonMode) || !strings.HasSuffix(err.Error(), tt.err) {
					t.Errorf("offered %v, wanted %v: %v, want %s", tt.offered, tt.wants, err, tt.err)
				}
				<-ended
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			sid := owamp.SID{1, 2, 3}
			if c.Mode() != tt.taken || h.peer.Mode != tt.taken || c.Seal(sid) != h.peer.Seal(sid) {
				t.Errorf("offered %v, wanted %v: modes %v and %v, equal keys %v; want %v", tt.offered, tt.wants, c.Mode(), h.peer.Mode, c.Seal(sid) == h.peer.Seal(sid), tt.taken)
			}
			if user := map[bool]string{true: "alice"}[tt.taken != o]; h.peer.User != user {
				t.Errorf("offered %v, wanted %v: the peer is %q, want %q", tt.offered, tt.wants, h.peer.User, user)
			}
			if text := fmt.Sprintf("%v %+v %#v", h.peer, h.peer, *h.peer); strings.Count(text, tt.taken.String()) != 3 || len(text) > 60 {
				t.Errorf("the peer prints as %s", text)
			}
			_ = c.Close()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// An admitter is told who the client is.
type admitter struct {
	*fakeHandler
	peer   *control.Peer
	accept owamp.Accept
}

func (a *admitter) Admit(p *control.Peer) owamp.Accept {
	a.peer = p
	return a.accept
}

// Who cannot show who he is is refused with accept 1, and the server's side
// knows why.
func TestDenied(t *testing.T) {
	for _, tt := range []struct {
		user, phrase string
		accept       owamp.Accept // of the handler
		want         owamp.Accept
		why          string
	}{
		{"alice", "wrong", 0, owamp.AcceptReject, `Server-Start: refused: user "alice" has another pass-phrase`},
		{"alice", "", 0, owamp.AcceptReject, `Server-Start: refused: user "alice" has another pass-phrase`},
		{"alic", alicePhrase, 0, owamp.AcceptReject, `Server-Start: refused: user "alic" is not known`},
		{"alice\n2", alicePhrase, 0, owamp.AcceptReject, `Server-Start: refused: user "alice\n2" is not known`},
		{strings.Repeat("x", 80), "", 0, owamp.AcceptReject, `Server-Start: refused: user "` + strings.Repeat("x", 80) + `" is not known`},
		{"alice", alicePhrase, owamp.AcceptTemporaryLimit, owamp.AcceptTemporaryLimit, "Server-Start: temporary resource limit"},
	} {
		bubble.Test(t, func(t *testing.T) {
			conn, ended := serve(t.Context(), anyMode(), &admitter{newHandler(), nil, tt.accept})
			cfg := asAlice(owamp.ModeAuthenticated)
			cfg.User, cfg.Passphrase = tt.user, func() ([]byte, error) { return []byte(tt.phrase), nil }
			_, err := control.Connect(t.Context(), conn, cfg)
			if denied, ok := errors.AsType[*control.DeniedError](err); !ok || denied.Accept != tt.want || denied.Why != "" {
				t.Errorf("%s: client: %v, want %v", tt.user, err, tt.want)
			}
			if err := <-ended; err == nil || err.Error() != tt.why {
				t.Errorf("%s: server: %v, want %s", tt.user, err, tt.why)
			}
		})
	}
}

// While others derive keys a client waits for its turn, but not longer than for
// the rest of the set-up; one that has no key to derive does not wait. A turn that
// was waited for in vain is nobody's.
func TestDerivations(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		cfg := anyMode()
		cfg.Modes |= owamp.ModeOpen
		cfg.Derivations = make(chan struct{}, 1)
		cfg.HandshakeTimeout = 10 * time.Second
		connect := func(ctx context.Context, client control.ClientConfig) (connected, ended <-chan error) {
			conn, ended := serve(ctx, cfg, newHandler())
			done := make(chan error, 1)
			go func() {
				c, err := control.Connect(t.Context(), conn, client)
				if err == nil {
					c.Close()
				}
				done <- err
			}()
			return done, ended
		}
		alice := asAlice(owamp.ModeEncrypted)

		cfg.Derivations <- struct{}{}
		connected, ended := connect(t.Context(), alice)
		synctest.Wait()
		select {
		case err := <-connected:
			t.Errorf("connected out of turn: %v", err)
		default:
		}
		open, _ := connect(t.Context(), control.ClientConfig{Modes: owamp.ModeOpen})
		if err := <-open; err != nil {
			t.Errorf("in open mode: %v", err)
		}
		<-cfg.Derivations
		if err := <-connected; err != nil {
			t.Errorf("in turn: %v", err)
		}
		if err := <-ended; err != nil {
			t.Errorf("in turn, server: %v", err)
		}

		cfg.Derivations <- struct{}{}
		begun := time.Now()
		connected, ended = connect(t.Context(), alice)
		if err := <-ended; !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "too many key derivations at a time: ") {
			t.Errorf("without a turn: %v", err)
		}
		if took := time.Since(begun); took != cfg.HandshakeTimeout {
			t.Errorf("without a turn: gave up after %v, want %v", took, cfg.HandshakeTimeout)
		}
		if err := <-connected; err == nil {
			t.Error("connected without a turn")
		}

		ctx, cancel := context.WithCancelCause(t.Context())
		connected, ended = connect(ctx, alice)
		synctest.Wait()
		enough := errors.New("enough")
		cancel(enough)
		if err := <-ended; !errors.Is(err, enough) {
			t.Errorf("server that ends: %v, want %v", err, enough)
		}
		<-connected

		<-cfg.Derivations
		connected, _ = connect(t.Context(), alice)
		if err := <-connected; err != nil {
			t.Errorf("at last: %v", err)
		}
		if n := len(cfg.Derivations); n != 0 {
			t.Errorf("%d turns are taken at the end", n)
		}
	})
}

// A client does not work for ever, nor for too little, because a server says so,
// and does not ask for a secret before.
func TestDerivationCount(t *testing.T) {
	for count, want := range map[uint32]string{
		0:              "reading Server-Greeting: key derivation in 0 iterations, want 1024 to 1048576",
		1023:           "reading Server-Greeting: key derivation in 1023 iterations, want 1024 to 1048576",
		1 << 31:        "reading Server-Greeting: key derivation in 2147483648 iterations, want 1024 to 1048576",
		math.MaxUint32: "reading Server-Greeting: key derivation in 4294967295 iterations, want 1024 to 1048576",
	} {
		bubble.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			go write(far, owamp.ServerGreeting{Modes: 7, Count: count}.Append(nil), 64)
			cfg := asAlice(owamp.ModeEncrypted)
			cfg.Passphrase = func() ([]byte, error) {
				t.Error("it was asked for")
				return nil, nil
			}
			if _, err := control.Connect(t.Context(), near, cfg); err == nil || err.Error() != want {
				t.Errorf("%v, want %s", err, want)
			}
		})
	}
	// The server's count is the one that is used.
	bubble.Test(t, func(t *testing.T) {
		cfg := anyMode()
		cfg.Count = 5000
		conn, ended := serve(t.Context(), cfg, newHandler())
		client := asAlice(owamp.ModeEncrypted)
		client.MaxCount = 5000
		c, err := control.Connect(t.Context(), conn, client)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	bubble.Test(t, func(t *testing.T) {
		cfg := anyMode()
		cfg.Count = 1023
		_, ended := serve(t.Context(), cfg, newHandler())
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "1023 iterations, want 1024") {
			t.Errorf("Serve: %v", err)
		}
	})
}

// No user and no pass-phrase is an error before anything is sent.
func TestClientUser(t *testing.T) {
	for user, want := range map[string]string{
		strings.Repeat("x", 81): "want a name of at most 80 octets",
		"a\x00":                 "want a name of at most 80 octets",
		"alice":                 "no file",
	} {
		bubble.Test(t, func(t *testing.T) {
			conn, ended := serve(t.Context(), anyMode(), newHandler())
			cfg := asAlice(owamp.ModeEncrypted)
			cfg.User, cfg.Passphrase = user, func() ([]byte, error) { return nil, errors.New("no file") }
			if _, err := control.Connect(t.Context(), conn, cfg); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, want %s", user, err, want)
			}
			if err := <-ended; err == nil || strings.Contains(err.Error(), "Server-Start") {
				t.Errorf("%q: the server: %v", user, err)
			}
		})
	}
}

// A man in the middle who changes one octet of a conversation, whichever it is,
// does not stay unnoticed by the side that it matters to, and nothing is done
// that the octet has to do with.
func TestFlipped(t *testing.T) {
	for name := range sealedKeys {
		r := sealed(t, name)
		file := keptFile(t, "../owp/testdata/"+name+"/c2s.owp")
		sizes := make(map[bool]int) // by direction
		for _, m := range r.messages {
			sizes[m.fromServer] += len(m.octets)
		}
		for fromServer, size := range sizes {
			for octet := -1; octet < size; octet++ {
				bubble.Test(t, func(t *testing.T) {
					f := &flip{recording: r, file: file, fromServer: fromServer, octet: octet}
					noticed := f.run(t)
					if want := octet >= 0 && !f.unprotected(); noticed != want {
						t.Errorf("%s, octet %d, from the server %v: noticed %v, want %v", name, octet, fromServer, noticed, want)
					}
				})
			}
		}
	}
}

// A flip is a conversation in which one octet is changed.
type flip struct {
	recording  *sealedRecording
	file       *kept // what is fetched
	fromServer bool
	octet      int // that it sends, from 0 on
}

// unprotected reports whether nothing depends on the octet: zeros that nobody
// looks at, and modes that are offered beside the one that is taken.
func (f *flip) unprotected() bool {
	const start = owamp.ServerGreetingSize
	return f.fromServer && (f.octet < 16 || f.octet >= 52 && f.octet < start+15)
}

// run reports whether one side has noticed.
func (f *flip) run(t *testing.T) bool {
	r := f.recording
	h := &fakeFetcher{fakeHandler: newHandler()}
	h.answer = func(*owamp.SessionSpec) owamp.Accepted { return r.answers[len(h.specs)-1] }
	h.reports = []owamp.SendReport{{SID: r.specs[1].SID, NextSeq: r.specs[1].Packets}}
	h.answerFetch = func(request owamp.FetchSession) control.FetchAnswer {
		if request != (owamp.FetchSession{End: math.MaxUint32, SID: r.answers[0].SID}) {
			t.Errorf("octet %d: %v is fetched", f.octet, request)
		}
		return f.file.answer(request)
	}
	cfg := anyMode()
	cfg.Count = 1024
	cfg.Peer = r.specs[1].Receiver.Addr()
	client, middle1 := net.Pipe()
	middle2, server := net.Pipe()
	go f.pass(middle1, middle2, !f.fromServer)
	go f.pass(middle2, middle1, f.fromServer)
	ended := serveOn(t.Context(), server, cfg, h)
	clientErr := f.client(t, client)
	client.Close()
	serverErr := <-ended

	for i, spec := range h.specs {
		spec.SID, spec.Sender, spec.Receiver = r.specs[i].SID, r.specs[i].Sender, r.specs[i].Receiver // without the ports
		if diff := cmp.Diff(r.specs[i], spec, equateAddr); diff != "" {
			t.Errorf("octet %d: the handler was asked for (-want +got):\n%s", f.octet, diff)
		}
	}
	for _, stop := range h.stops {
		if want := (owamp.SendReport{SID: r.answers[0].SID, NextSeq: r.specs[0].Packets}); !cmp.Equal([]owamp.SendReport{want}, stop.Peer) {
			t.Errorf("octet %d: the handler was told %+v", f.octet, stop)
		}
	}
	return clientErr != nil || serverErr != nil
}

// client is the client's part of the conversation.
func (f *flip) client(t *testing.T, conn net.Conn) error {
	r := f.recording
	c, err := control.Connect(t.Context(), conn, asAlice(r.response.Mode))
	if err != nil {
		return err
	}
	defer c.Close()
	answers, err := c.Request(t.Context(), r.specs)
	for i, a := range answers {
		if a != r.answers[i] {
			t.Errorf("octet %d: the client was told %+v", f.octet, a)
		}
	}
	if err == nil {
		err = c.Start(t.Context())
	}
	if err != nil {
		return err
	}
	peer, err := c.Stop(t.Context(), []owamp.SendReport{{SID: answers[0].SID, NextSeq: r.specs[0].Packets}})
	if err != nil {
		return err
	}
	if want := (owamp.SendReport{SID: r.specs[1].SID, NextSeq: r.specs[1].Packets}); !cmp.Equal([]owamp.SendReport{want}, peer) {
		t.Errorf("octet %d: the client was told %v", f.octet, peer)
	}
	got, err := fetch(t.Context(), c, answers[0].SID, 0, math.MaxUint32)
	if err != nil {
		return err
	}
	if diff := cmp.Diff(f.file, got, compareKept); diff != "" {
		t.Errorf("octet %d: the client has fetched (-want +got):\n%s", f.octet, diff)
	}
	return nil
}

// pass hands on what one side sends, changing the octet if it is that side's.
func (f *flip) pass(from, to net.Conn, change bool) {
	defer to.Close()
	b := make([]byte, 4096)
	for at := 0; ; {
		n, err := from.Read(b)
		if i := f.octet - at; change && i >= 0 && i < n {
			b[i] ^= 1 << (f.octet % 8)
		}
		at += n
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
