package cli

import "runtime/debug"

// collectAt is by how many percent of what lives memory may grow before what
// does not is collected.
const collectAt = 33

// SaveMemory has the garbage of this process collected three times as often as usual,
// unless the variable GOGC says how often. Sessions live long and leave little
// behind, so with thousands of them memory is dear, and collecting is cheap.
func SaveMemory(getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
}
