//go:build !race

package owamp_test

const raceEnabled = false
