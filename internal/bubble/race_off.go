//go:build !race

package bubble

// raceEnabled says that the race detector is at work.
const raceEnabled = false
