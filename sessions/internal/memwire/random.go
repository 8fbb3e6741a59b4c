package memwire

import (
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"sync"
)

// Random returns octets that are the same in every run, and others for each name.
// All goroutines may read them.
func Random(name string) io.Reader {
	return &random{source: rand.NewChaCha8(sha256.Sum256([]byte(name)))}
}

type random struct {
	mu     sync.Mutex
	source *rand.ChaCha8
}

func (r *random) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.source.Read(b)
}
