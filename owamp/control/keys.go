package control

import (
	"context"
	"fmt"
	"io"
	"strings"

	"owl/owamp"
	"owl/owamp/internal/seal"
)

// Bounds of the iterations that a server may ask for in its greeting.
const (
	minCount        = 1024    // RFC 4656 section 3.1
	defaultMaxCount = 1 << 20 // less than a second of work
	defaultCount    = 2048    // the C suite's
)

// secured are the modes that need a pass-phrase.
const secured = owamp.ModeAuthenticated | owamp.ModeEncrypted

// strictest returns the mode of a connection out of those that both ends allow.
func strictest(m owamp.Mode) owamp.Mode {
	for _, mode := range []owamp.Mode{owamp.ModeEncrypted, owamp.ModeAuthenticated, owamp.ModeOpen} {
		if m&mode != 0 {
			return mode
		}
	}
	return 0
}

// draw fills each of the slices with random octets.
func draw(random io.Reader, slices ...[]byte) error {
	for _, b := range slices {
		if _, err := io.ReadFull(random, b); err != nil {
			return fmt.Errorf("drawing random numbers: %w", err)
		}
	}
	return nil
}

// respond makes the Set-Up-Response to a greeting, in the mode of c, and the
// keys for what follows it.
func (c *Client) respond(g *owamp.ServerGreeting, cfg *ClientConfig) (*owamp.SetUpResponse, error) {
	r := &owamp.SetUpResponse{Mode: c.mode}
	if c.mode == owamp.ModeOpen {
		return r, nil
	}
	if g.Count < minCount || g.Count > cfg.MaxCount {
		return nil, garbage("Server-Greeting", fmt.Errorf("key derivation in %d iterations, want %d to %d", g.Count, minCount, cfg.MaxCount))
	}
	if n := copy(r.KeyID[:], cfg.User); n < len(cfg.User) || strings.ContainsRune(cfg.User, 0) {
		return nil, fmt.Errorf("user %q: want a name of at most %d octets", cfg.User, len(r.KeyID))
	}
	passphrase, err := cfg.Passphrase()
	if err != nil {
		return nil, err
	}
	secret, err := seal.Derive(passphrase, g.Salt, g.Count)
	if err != nil {
		return nil, err
	}
	if err := draw(cfg.Rand, c.keys.AES[:], c.keys.HMAC[:], r.IV[:]); err != nil {
		return nil, err
	}
	r.Token = secret.Token(g.Challenge, &c.keys)
	return r, nil
}

// Seal returns the seal of the test packets of a session on this connection.
func (c *Client) Seal(sid owamp.SID) owamp.Seal { return owamp.NewSeal(c.mode, &c.keys, sid) }

// A Peer is the client of a connection, as the server knows it.
type Peer struct {
	Mode owamp.Mode // of the connection
	User string     // whose pass-phrase it has; empty in open mode
	keys seal.Keys
}

// Format implements [fmt.Formatter]: no verb prints the keys.
func (p Peer) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "%v %q", p.Mode, p.User) }

// Seal returns the seal of the test packets of a session on the connection.
func (p *Peer) Seal(sid owamp.SID) owamp.Seal { return owamp.NewSeal(p.Mode, &p.keys, sid) }

// authenticate returns the peer that has sent a Set-Up-Response to a greeting,
// or the reason why it is not let in. That a user is not known takes as long to
// find out as that the pass-phrase is wrong.
func (s *server) authenticate(ctx context.Context, r *owamp.SetUpResponse, g *owamp.ServerGreeting) (*Peer, string, error) {
	p := &Peer{Mode: r.Mode}
	if r.Mode == owamp.ModeOpen {
		return p, "", nil
	}
	p.User = strings.TrimRight(string(r.KeyID[:]), "\x00")
	var passphrase []byte
	known := false
	if s.cfg.Passphrase != nil {
		passphrase, known = s.cfg.Passphrase(p.User)
	}
	if !known {
		passphrase = []byte("of nobody")
	}
	secret, err := s.derive(ctx, passphrase, g)
	if err != nil {
		return nil, "", err
	}
	keys, ok := secret.Open(r.Token, g.Challenge)
	switch {
	case !known:
		return nil, fmt.Sprintf("user %q is not known", p.User), nil
	case !ok:
		return nil, fmt.Sprintf("user %q has another pass-phrase", p.User), nil
	}
	p.keys = keys
	return p, "", nil
}

// derive derives the secret of a pass-phrase when it is its turn.
func (s *server) derive(ctx context.Context, passphrase []byte, g *owamp.ServerGreeting) (seal.Secret, error) {
	if turns := s.cfg.Derivations; turns != nil {
		select {
		case turns <- struct{}{}:
			defer func() { <-turns }()
		case <-ctx.Done():
			return seal.Secret{}, fmt.Errorf("too many key derivations at a time: %w", context.Cause(ctx))
		}
	}
	return seal.Derive(passphrase, g.Salt, g.Count)
}
