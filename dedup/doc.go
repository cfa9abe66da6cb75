// Package dedup is the vocabulary that the engine, the shared stores and the
// adapters have in common: what can be said of a key ([Verdict]), what a
// handler holds while it works on one ([Claim]), the errors, and [Guard], the
// small interface that everything which can decide about a key implements.
//
// [Do] and [DoValue] run a function once for a key and give its answer to every
// caller. [Keeper] extends leases while handlers work.
//
// The package holds no state between calls; unless a type says otherwise, all
// of it may be used by any number of goroutines at once.
package dedup
