// Package keytable holds the keys that one shard marked and that no run has yet:
// the memtable of the engine.
//
// A [Table] keeps its keys in the order in which they came, 16 bytes each ([Pair]), so
// that what was written last is the journal's payload already. Beside them lies an index
// in hash order: rows of 32 bytes, a count and seven entries, four of them used when the
// table is full. An entry is the place of a key and, above it, a tag of further hash
// bits. Keys of variable length have their bytes in the table's arena.
//
// A new key writes one random row, of a quarter of the pages that keys in hash order
// would take: 8 bytes per key of an index instead of 32 of slots at load 0.5. The price
// is a second cache line for a key that is there. Since the index lies in hash order,
// a scan of it gives the keys nearly sorted ([Table.Sorted]), as runs want them.
//
// Keys are told by their whole bytes (I3): the hash finds a row, the tag chooses among
// its entries, and the key decides.
//
// A table has no lock: its owner sees to it that calls do not overlap, but for
// [Table.Prefetch] and [Table.Rows]. A sealed table may be read by many goroutines. A
// [Pool] may be used by many goroutines at once.
package keytable
