// Package version decides by an entity's version whether an update is news: of
// updates that arrive late, twice or out of order only those are applied that
// are newer than all before. There is no window: an entity's version is kept for
// ever.
//
// A [Store] keeps them in a directory of its own, for one process. Where the
// update goes to PostgreSQL or MySQL, [Table] does the same in the caller's
// transaction, so that effect and version are committed together.
//
// # What a Store guarantees
//
//   - Once Observe has answered Apply for a version, no later call answers Apply
//     for the same entity and this or a lower version: over kill -9 and power loss.
//   - Of concurrent calls for one entity and version exactly one gets Apply.
//   - Damage is dedup.ErrCorrupt, never Apply. Each value has a checksum, and the
//     number of entities and the sum of their hashes are kept twice: with the
//     values and, after each sync, in a file of their own. Opening reads all values
//     and compares.
//
// Observe marks on sight. A consumer that dies between Apply and its effect gets
// the update again, with Stale and a Current that is the update's own version.
// Where applying twice does no harm, apply it then too.
//
// # How it works
//
// Calls hand their questions to one goroutine, which answers all that wait in one
// Badger transaction (group commit), syncs it, then syncs the promise:
//
//	value     key 'e' and the entity, or 'd' and its SHA-256 where it is longer than 255 bytes
//	          8 bytes version, 4 bytes CRC-32C of key and version, both big endian
//	totals    key 't'; 8 bytes each: number of transactions, number of entities, sum of
//	          xxHash64 of key and version (mod 2^64); 4 bytes CRC-32C
//	PROMISE   two slots of 512 bytes, written in turn: "FSVERS01", then the totals
//
// After a crash the totals may be ahead of the promise, by transactions that were
// not answered. Totals that are behind, or values that don't make them, are
// damage.
//
// All methods may be called by any number of goroutines at once. What the
// package does not do: it never removes an entity, and it is not shared between
// processes.
package version
