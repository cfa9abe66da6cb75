//go:build race

package engine

// raceEnabled: the race detector makes everything ten times slower.
const raceEnabled = true
