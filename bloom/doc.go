// Package bloom has filters over 64-bit hashes that remember a window of
// generations and answer, for each, "maybe" or "certainly not".
//
// A [Filter] holds 2 to 8 generations in slots. A key that was added to a slot
// is "maybe" in it until the slot is reset: there are no false negatives, ever,
// also not while a reset slot is still being cleared. A key that was not added
// is "maybe" at a rate that [PredictRate] gives and [Size] plans for. Filters
// know no clock and no files; whoever rotates them says so by [Filter.Reset]. A [Window] is
// a filter with its rotation: Add, Maybe, Rotate.
//
// There are two kinds. [Sliced] lays the generations side by side in a cache
// line, so that one miss answers for all of them. [Compact] is a ring of
// bits-and-blooms filters, which take fewer bits for low rates and many more
// misses. Both pass one test suite.
//
// The filters take hashes, not keys, and expect good ones: uniform over all
// bits but the lowest, which may be zero. They do not hash again. Against
// senders who choose keys to collide, use a keyed hash.
//
// A generation of several filters is written to a stream by [SnapshotWriter]
// and read by [OpenSnapshot], into filters ([Filter.MergeSlot]) or into
// [Columns], which a process that only wants to ask loads alone. Each part
// carries a checksum; what is damaged is an error and never an answer.
//
// A Filter has no lock: see there for the calls that may overlap.
package bloom
