// Package shards is the memory of the engine: it routes keys to shards and
// decides, under one lock per shard and batch, what can be said of each key.
//
// It is an internal of package engine, exported for the sake of reading and testing only.
// Nothing in it is promised to stay as it is from one version to the next.
//
// A shard holds the filter of its part of the hash space, its unflushed keys (marked, not
// yet in a run; package keytable), its claims and its tombstones. A [Batch] is decided in
// three steps:
//
//  1. [Set.Route] hashes its keys and puts those of each shard side by side.
//  2. The first look, shard by shard under the lock, says what memory can tell. The filter
//     names the slots that may hold a key. Keys that no slot holds are new; those that a
//     claim or an unflushed table knows are answered. Marks are handed to a [Log] while the
//     shard is locked, so that the log's order is the order of the marks.
//  3. What only the runs on disk can tell is asked of a [Confirmer], with no lock held
//     (I8). The second look, under the lock again, checks that nothing changed meanwhile.
//
// The package is pure memory: it starts no goroutine, opens no file and takes
// the time as an argument. A [Set] may be used by many goroutines at once; a
// [Batch] belongs to one call.
package shards
