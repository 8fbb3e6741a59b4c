package esmond

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"sync"
	"time"

	"owl/archive/dest/esmond/mapping"
)

const (
	// maxKeys bounds how many keys are known at once.
	maxKeys = 1 << 16
	// keyLife is how long a key is used before the archive is asked again. An
	// esmond that has lost its measurements takes values for them all the same,
	// and keeps none.
	keyLife = time.Hour
	// turns is how many results can be written at once, if they are of different
	// measurements.
	turns = 64
)

// A measurement is known by what is registered of it, before names of hosts have
// become addresses.
type measurement [sha256.Size]byte

func idOf(r *mapping.Record) (measurement, error) {
	b, err := json.Marshal([]any{r.Metadata, r.Source, r.Destination, r.Agent})
	return sha256.Sum256(b), err
}

// keys are those that the archive has given to measurements. The zero value is
// ready to be used.
type keys struct {
	mu  sync.Mutex
	all map[measurement]registered
}

type registered struct {
	key  string
	ends time.Time
}

func (k *keys) get(m measurement) (string, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, ok := k.all[m]
	if ok && time.Now().After(r.ends) {
		delete(k.all, m)
		return "", false
	}
	return r.key, ok
}

// put keeps a key, instead of any other if there are too many.
func (k *keys) put(m measurement, key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.all == nil {
		k.all = make(map[measurement]registered)
	}
	if _, ok := k.all[m]; !ok && len(k.all) >= maxKeys {
		for other := range k.all {
			delete(k.all, other)
			break
		}
	}
	k.all[m] = registered{key, time.Now().Add(keyLife)}
}

func (k *keys) drop(m measurement) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.all, m)
}

// turn waits until no other result of the same measurement is on its way, and
// returns what ends the turn: esmond reads a summary, adds to it and writes it
// back, and would lose one of two that come at once; and it registers twice what
// is registered twice at once.
func (d *destination) turn(ctx context.Context, m measurement) (done func(), err error) {
	if d.turns == nil {
		return func() {}, nil
	}
	t := d.turns[m[0]%turns]
	select {
	case t <- struct{}{}:
		return func() { <-t }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
