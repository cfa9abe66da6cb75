// Package dedup is the vocabulary that the engine, the shared stores and the
// adapters have in common: what can be said of a key ([Verdict]), what a
// handler holds while it works on one ([Claim]), the errors, and [Guard], the
// small interface that everything which can decide about a key implements.
//
// [Do] and [DoValue] run a function once for a key and give its answer to every
// caller. [Keeper] extends leases while handlers work.
//
// # What Do keeps
//
// The result that Do commits with a key is an envelope:
//
//	offset  bytes  content
//	0       1      version, 0xD1
//	1       1      flags: 1 the rest is the text of a final error, 2 a fingerprint comes first
//	2       32     SHA-256 of the fingerprint, only with flag 2
//	2 or 34 rest   the result, or the text of the error
//
// A reader refuses other versions and flags, and an envelope that says nothing
// (no flag, no rest): instead of that one no result is kept. The guard stores
// the envelope with its own checksum.
//
// The package holds no state between calls; unless a type says otherwise, all
// of it may be used by any number of goroutines at once.
package dedup
