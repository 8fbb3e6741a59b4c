package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// secretOctets is how long a secret is. It is random, so a plain hash keeps
	// it as well as a slow one would.
	secretOctets = 20
	maxKeyName   = 64 // characters
	// trust is how long a key is taken for good that was there: so long it may
	// take until a key is refused that another process has revoked.
	trust = 5 * time.Second
	// maxTrusted bounds how many keys are.
	maxTrusted = 1024
	day        = 86400 // s
)

// A Key is a key by which clients write, without its secret.
type Key struct {
	Name    string
	Created time.Time
	Used    time.Time // the day of the last use, in UTC; zero: never
}

// AddKey makes a key, and returns its secret: 40 hexadecimal digits, which are kept
// nowhere. It is an error if there is a key of this name.
func (s *Store) AddKey(ctx context.Context, name string) (secret string, err error) {
	if err := checkKeyName(name); err != nil {
		return "", err
	}
	b := make([]byte, secretOctets)
	rand.Read(b) // never fails
	secret = hex.EncodeToString(b)
	hash := sha256.Sum256([]byte(secret))
	err = s.change(ctx, key{}, func(t *tx) error {
		n, err := t.exec("INSERT INTO keys (name, secret, created, used) VALUES (?, ?, ?, 0) ON CONFLICT (name) DO NOTHING", name, hash[:], s.options.Now().Unix())
		if err == nil && n == 0 {
			err = fmt.Errorf("there is a key %q already: want another name, or revoke it first", name)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	return secret, nil
}

// checkKeyName keeps names fit for a list.
func checkKeyName(name string) error {
	ok := name != "" && utf8.ValidString(name) && utf8.RuneCountInString(name) <= maxKeyName
	for _, r := range name {
		ok = ok && unicode.IsPrint(r)
	}
	if !ok {
		return fmt.Errorf("the name of a key %q: want 1 to %d printable characters", name, maxKeyName)
	}
	return nil
}

// Keys returns all keys, by name.
func (s *Store) Keys(ctx context.Context) ([]Key, error) {
	var all []Key
	err := s.reader(ctx).query(func(r row) error {
		var k Key
		var created, used int64
		if err := r.Scan(&k.Name, &created, &used); err != nil {
			return err
		}
		k.Created = time.Unix(created, 0)
		if used != 0 {
			k.Used = time.Unix(used, 0).UTC()
		}
		all = append(all, k)
		return nil
	}, "SELECT name, created, used FROM keys ORDER BY name")
	return all, err
}

// RevokeKey makes a key worth nothing: within 5 s at the latest, where another
// process or a request that is being answered has just used it.
func (s *Store) RevokeKey(ctx context.Context, name string) error {
	err := s.change(ctx, key{}, func(t *tx) error {
		n, err := t.exec("DELETE FROM keys WHERE name = ?", name)
		if err == nil && n == 0 {
			err = fmt.Errorf("there is no key %q", name)
		}
		return err
	})
	s.trusted.forget(name)
	return err
}

// Authenticate returns the name of the key that a secret is of. False: of none. It
// notes the day.
func (s *Store) Authenticate(ctx context.Context, secret string) (name string, ok bool, err error) {
	if len(secret) != 2*secretOctets {
		return "", false, nil
	}
	hash := sha256.Sum256([]byte(secret))
	now := s.options.Now()
	if name, ok := s.trusted.name(hash, now); ok {
		return name, true, nil
	}
	var used int64
	err = s.reader(ctx).query(func(r row) error {
		ok = true
		return r.Scan(&name, &used)
	}, "SELECT name, used FROM keys WHERE secret = ?", hash[:])
	if err != nil || !ok {
		return "", false, err
	}
	if today := now.Unix() / day * day; used < today {
		err := s.change(ctx, key{}, func(t *tx) error {
			_, err := t.exec("UPDATE keys SET used = ? WHERE secret = ? AND used < ?", today, hash[:], today)
			return err
		})
		if err != nil { // who may write does not hang on it
			s.options.Log.Warn("the use of a key cannot be noted", "archive", s.name, "key", name, "error", err)
		}
	}
	s.trusted.add(hash, name, now)
	return name, true, nil
}
