//go:build race

package owamp_test

const raceEnabled = true
