package store

import (
	"maps"
	"sync"
	"time"
)

// trusted are keys that were there a moment ago, so that not every request asks
// the database. The zero value has none.
type trusted struct {
	mu     sync.Mutex
	byHash map[[32]byte]trustedKey
}

type trustedKey struct {
	name  string
	since time.Time
}

// name returns the name of a key that is trusted now.
func (t *trusted) name(hash [32]byte, now time.Time) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, ok := t.byHash[hash]
	age := now.Sub(k.since)
	return k.name, ok && age >= 0 && age < trust // a clock may be set back
}

func (t *trusted) add(hash [32]byte, name string, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.byHash == nil || len(t.byHash) >= maxTrusted {
		t.byHash = make(map[[32]byte]trustedKey)
	}
	t.byHash[hash] = trustedKey{name, now}
}

func (t *trusted) forget(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	maps.DeleteFunc(t.byHash, func(_ [32]byte, k trustedKey) bool { return k.name == name })
}
