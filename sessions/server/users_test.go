package server_test

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"owl/internal/bubble"
	"owl/owamp"
	"owl/owamp/control"
	"owl/sessions/policy"
	"owl/sessions/server"
)

const (
	phraseOfAlice = "correct horse battery"
	phraseOfBob   = "staple"
)

// secured gives a server passphrases of alice and bob, and limits.
func secured(t *testing.T, lines ...string) func(*world, *server.Config) {
	t.Helper()
	p := new(policy.Passphrases)
	if err := errors.Join(p.Set("alice", []byte(phraseOfAlice)), p.Set("bob", []byte(phraseOfBob))); err != nil {
		t.Fatal(err)
	}
	return func(_ *world, c *server.Config) {
		c.Modes = owamp.ModeOpen | owamp.ModeAuthenticated | owamp.ModeEncrypted
		c.Passphrases = p
		if len(lines) > 0 {
			c.Limits = limits(t, lines...)
		}
	}
}

// connectAs tries to become a client who has shown to be a user.
func (w *world) connectAs(a netip.Addr, mode owamp.Mode, user, passphrase string) (*control.Client, error) {
	w.t.Helper()
	conn, err := w.Dial(w.t.Context(), netip.AddrPortFrom(a, 50000))
	if err != nil {
		w.t.Fatal(err)
	}
	return control.Connect(w.t.Context(), conn, control.ClientConfig{
		Modes: mode, User: user, Passphrase: func() ([]byte, error) { return []byte(passphrase), nil },
	})
}

// The class of a user is the user's, wherever it calls from; open mode is
// offered where the class of the address lets it. What a user has recorded the
// same user fetches, and no one else.
func TestUsers(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		config := secured(t,
			"limit root with disk=1g",
			"limit guests with parent=root, allow_open_mode=off, disk=1",
			"limit friends with parent=root",
			"assign default guests", "assign net 192.0.2.9 root", "assign user alice friends", "assign user bob root")
		w := serve(t, config)
		if _, err := w.connectAs(here, owamp.ModeOpen, "", ""); !errors.Is(err, control.ErrNoCommonMode) {
			t.Errorf("open mode for a guest: %v, want %v", err, control.ErrNoCommonMode)
		}
		alice, err := w.connectAs(here, 7, "alice", phraseOfAlice)
		if err != nil {
			t.Fatal(err)
		}
		if alice.Mode() != owamp.ModeEncrypted {
			t.Errorf("mode %v, want E", alice.Mode())
		}
		sid := w.record(alice, 5)
		alice.Close()
		found, err := filepath.Glob(filepath.Join(w.data, "hierarchy", "*", "friends", sid.String()+".owp"))
		if err != nil || len(found) != 1 {
			t.Errorf("kept at %q, %v; want in the class friends", found, err)
		}
		w.stop()

		// The next server knows it, too.
		w = serveIn(t, w.data, config)
		for _, test := range []struct {
			from       netip.Addr
			mode       owamp.Mode
			user, with string
			may        bool
		}{
			{here, owamp.ModeAuthenticated, "alice", phraseOfAlice, true},
			{elsewhere, owamp.ModeEncrypted, "alice", phraseOfAlice, true},
			{here, owamp.ModeAuthenticated, "bob", phraseOfBob, false},
			{elsewhere, owamp.ModeOpen, "", "", false},
		} {
			c, err := w.connectAs(test.from, test.mode, test.user, test.with)
			if err != nil {
				t.Fatal(err)
			}
			_, got, err := all(t, c, sid)
			if !test.may {
				w.denied(err, owamp.AcceptReject, "session "+sid.String()+" is by")
			} else if err != nil || len(got) != 5 {
				t.Errorf("%s from %v: %d records, %v", test.user, test.from, len(got), err)
			}
			c.Close()
		}
		w.stop()
	})
}

// However many want to show who they are, at most half of the processors find out
// whether they are it; those who need not show it are served meanwhile.
func TestDerivationsAreBounded(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, secured(t))
		turns := w.Derivations()
		if want := max(runtime.GOMAXPROCS(0)/2, 1); cap(turns) != want {
			t.Errorf("%d at a time, want %d", cap(turns), want)
		}
		for range cap(turns) {
			turns <- struct{}{}
		}
		known := make(chan error)
		go func() {
			c, err := w.connectAs(here, owamp.ModeEncrypted, "alice", phraseOfAlice)
			if err == nil {
				c.Close()
			}
			known <- err
		}()
		synctest.Wait()
		select {
		case err := <-known:
			t.Errorf("alice is let in without a derivation: %v", err)
		default:
		}
		w.connect().Close()
		<-turns
		if err := <-known; err != nil {
			t.Errorf("alice: %v", err)
		}
		w.stop()
	})
}

// Whoever is not let in costs a line that says who and why, and no secret.
func TestStrangers(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, secured(t))
		for _, test := range []struct{ user, passphrase, why string }{
			{"alice", phraseOfBob, `user \"alice\" has another pass-phrase`},
			{"alice", "", `user \"alice\" has another pass-phrase`},
			{"mallory", phraseOfAlice, `user \"mallory\" is not known`},
			{"ALICE", phraseOfAlice, `user \"ALICE\" is not known`},
			{"alice2", phraseOfAlice, `user \"alice2\" is not known`},
			{"al", phraseOfAlice, `user \"al\" is not known`},
		} {
			_, err := w.connectAs(here, owamp.ModeAuthenticated, test.user, test.passphrase)
			w.denied(err, owamp.AcceptReject, test.why)
		}
		for _, line := range w.logged() {
			for _, secret := range []string{phraseOfAlice, phraseOfBob} {
				if strings.Contains(line, secret) || strings.Contains(line, hex.EncodeToString([]byte(secret))) {
					t.Errorf("logged %q", line)
				}
			}
		}
		// Others are served all the same.
		c, err := w.connectAs(here, owamp.ModeAuthenticated, "bob", phraseOfBob)
		if err != nil {
			t.Fatal(err)
		}
		if _, got, err := all(t, c, w.record(c, 3)); err != nil || len(got) != 3 {
			t.Errorf("bob: %d records, %v", len(got), err)
		}
		c.Close()
		w.stop()
	})
}

// Modes that need pass-phrases are offered while there are some; a reload
// changes who is known to those who connect from then on.
func TestReloadPassphrases(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, func(_ *world, c *server.Config) { c.Modes = owamp.ModeOpen | owamp.ModeEncrypted })
		modes := func() (taken []owamp.Mode) {
			for _, m := range []owamp.Mode{owamp.ModeOpen, owamp.ModeEncrypted} {
				c, err := w.connectAs(here, m, "alice", phraseOfAlice)
				if err == nil {
					taken = append(taken, c.Mode())
					c.Close()
				}
			}
			return taken
		}
		if got := modes(); !slices.Equal(got, []owamp.Mode{owamp.ModeOpen}) {
			t.Errorf("without pass-phrases: %v, want O", got)
		}
		p := new(policy.Passphrases)
		if err := p.Set("alice", []byte(phraseOfAlice)); err != nil {
			t.Fatal(err)
		}
		w.Reload(server.Settings{Passphrases: p, Derivation: 1024}, policy.Unlimited())
		if got := modes(); !slices.Equal(got, []owamp.Mode{owamp.ModeOpen, owamp.ModeEncrypted}) {
			t.Errorf("with a pass-phrase: %v, want O and E", got)
		}
		w.Reload(server.Settings{}, policy.Unlimited())
		if got := modes(); !slices.Equal(got, []owamp.Mode{owamp.ModeOpen}) {
			t.Errorf("without pass-phrases again: %v, want O", got)
		}
		w.stop()
	})
}

// A session in a mode with keys is counted with the packets that it has there:
// 48 octets, and 28 of headers, 10 times a second.
func TestSealedDemand(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := serve(t, secured(t, "limit root with bandwidth=6k"))
		for mode, want := range map[owamp.Mode]owamp.Accept{owamp.ModeOpen: owamp.AcceptOK, owamp.ModeAuthenticated: owamp.AcceptReject, owamp.ModeEncrypted: owamp.AcceptReject} {
			c, err := w.connectAs(here, mode, "alice", phraseOfAlice)
			if err != nil {
				t.Fatal(err)
			}
			if a := w.request(c, fromServer(10, netip.AddrPortFrom(here, 9000))); a.Accept != want {
				t.Errorf("mode %v: %v, want %v", mode, a.Accept, want)
			}
			c.Close()
			synctest.Wait()
		}
		w.stop()
	})
}
