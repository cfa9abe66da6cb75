// Package soak runs an engine for a long time under load and bad luck, and checks
// every verdict. A parent (Run) starts a child process (Child) that marks new
// keys and asks for old ones in several goroutines; it kills the child, stops and
// continues it, lets it close in order, damages the snapshots between two lives,
// and starts it again over the same directory. What was acknowledged is known to
// the parent, so a kill can't hide a loss.
//
// The keys are numbered, so that ranges of them say what was tried and what was
// acknowledged, however many they are.
package soak
