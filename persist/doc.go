// Package persist keeps an engine's directory: what is marked is written here,
// and found again after a crash. It knows neither filters nor shards.
//
// It is an internal of package engine, exported for the sake of reading and testing only.
// Its functions and types may change from one version to the next; what lies on disk is kept
// compatible as FORMAT.md says.
//
// # What lies in a directory
//
//	LOCK              flock of the process that has it open       LockDir
//	IDENTITY          written once: seed, shards, mode            Identity
//	MANIFEST          what must be there, replaced atomically     Manifest
//	journal           ring of marks that are not yet in runs      package journal
//	journal.mark      how far the journal reaches                 package journal
//	seg-%08d/         a Badger directory full of runs             Segment, Run
//	filter-%08d.snap  bits of a generation's filter               WriteSnapshot
//	*.tmp             left over from a crash                      vfs.RemoveLeftovers
//
// # How a key gets here
//
// A mark is appended to the journal, which is durable within a sync. When a
// shard's unflushed keys are many, they become sorted runs ([Run]), one per form, in
// their generation's [Segment]; after [Segment.Sync] the manifest promises the run and
// says up to which journal position it covers the shard, and only then the
// journal's room is given back. A generation that has passed out of the window is
// dropped from the manifest, then its segments are removed as directories: there
// are no deletions within a segment, and so no compaction.
//
// # Runs
//
// The keys of a run lie in blocks of 16 on average; block b of n holds those with
// mulhi(order, n) == b, so the order of a key is its address. Fixed forms (16
// bytes, hi and lo little endian) and variable ones (a length byte and 1 to 255
// bytes) never share a run.
//
//	block   records, ascending; CRC32C of them (4 bytes, little endian)
//	value   whole blocks, up to valueLimit bytes unless one block is longer
//	index   for each block the offset at which it starts in the concatenated
//	        values, then the end; 4 bytes each, little endian
//
// Values and index are Badger values, under keys of 13 bytes: 'r', the run's
// number and the value's (8 and 4 bytes, big endian; 2^32-1 is the index). The
// index is kept in memory; the values are read as slices of Badger's mapped
// value log, which is never rotated: what doesn't fit goes into another segment.
//
// # What is guaranteed
//
//   - A run that was finished and synced, and is promised in a manifest, is there
//     in full when OpenSegment returns nil, or OpenSegment reports it (I5): Badger
//     itself forgets damaged data without an error. Lengths and indexes are
//     checked when a run is opened, blocks whenever one is looked into, whole
//     values and the sum of all keys by Scan, Verify and MergeRuns.
//   - Damage is a *dedup.CorruptError, never a wrong answer and never a panic. It
//     stays where it is: opening does not make it worse.
//   - An error of writing or syncing wraps dedup.ErrFailed; then it is not known
//     what is on disk (I7).
//
// # Who may call at once
//
// Everything may be called at once, but for a RunWriter and a Lookup, which
// belong to one goroutine at a time. Closing or removing a segment waits for the calls under way.
//
// # What it does not do
//
// It does not look after free space: Badger writes through maps of sparse files,
// and a full disk kills the process (SIGBUS). Whoever calls checks [FreeSpace]
// before writing a run. It does not retire generations, decide what is repaired,
// or look into the snapshots of filters.
package persist
