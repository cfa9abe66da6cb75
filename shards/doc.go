// Package shards is the memory of the engine: it routes keys to shards and
// decides, under one lock a shard and batch, what can be said of each key.
//
// A shard holds the filter of its part of the hash space, its unflushed keys
// (marked, not yet in a run), its claims and its tombstones. What only the runs
// on disk can tell is asked of a [Confirmer], with no lock held (I8), and
// checked again afterwards. Marks are handed to a [Log] while the shard is
// locked, so that the log's order is the order of the marks.
//
// The package is pure memory: it starts no goroutine, opens no file and takes
// the time as an argument. A [Set] may be used by many goroutines at once; a
// [Batch] belongs to one call.
package shards
