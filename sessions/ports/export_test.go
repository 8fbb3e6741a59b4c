package ports

// Remembered returns of how many triples the pool knows on the port of l.
func Remembered(l *Lease) int {
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	return len(l.shared.busy)
}
