//go:build !race

package probe

// raceEnabled says that the race detector is at work, which allocates.
const raceEnabled = false
