// Package bench measures deduplicators against each other and checks every
// answer on the way.
//
// [Run] sends a seeded [Workload] to one [Candidate] and gives a [Result]:
// keys per second, latency quantiles, memory and disk a key, the time to open
// again, and how many verdicts were wrong. [RunAll] does that for a list,
// several times each and in turn, and collects a [Report], which can be printed
// as a table, as Go benchmark text and as a web page, or compared with another.
//
// # Exact answers
//
// A key is a function of the seed and an index; indices are issued in rising
// order, so a message is fresh exactly when its index is issued for the first
// time, and the expected verdict is known without remembering any key. Each
// goroutine issues indices of its own, so that the order of calls between
// goroutines decides nothing. Time is part of the workload: a message takes one
// microsecond of a clock that candidates with a window are given
// ([Setup.Now]), so that a window of so many messages expires and rotates as it
// would in production, at any speed.
//
// # What is timed
//
// Keys are made and verdicts are checked outside the calls that are timed. Two
// rates are reported: keys per second inside calls, and by the wall clock,
// because work that a candidate does in the background hides in the time
// between calls and shows only in the second one.
//
// A Config and everything it points to belongs to one Run at a time. A run
// measures the memory of its process, so two at once disturb each other.
package bench
