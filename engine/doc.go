// Package engine answers, at millions of keys per second and never wrongly: has
// this key been seen within the window?
//
// # The promise
//
// Within the window no duplicate passes, nothing fresh is dropped, doubt is
// said aloud, and what is marked stays marked: over kill -9 always, over power
// loss unless Options.Sync was weakened. A key is remembered at least for
// Options.Window and at most for one generation's span more. The time of a mark
// is the time at which the call that made it began.
//
// # How it works
//
// A batch is routed to shards once. Each shard, under its lock, asks one cache
// line of its filter for each key: most are "certainly new" and are put into
// the table of unflushed keys, the filter and the journal. What the filter
// calls "maybe" is looked for in the unflushed keys and then, with no lock
// held, in the runs on disk. The answer waits until the journal is as durable
// as Options.Sync says. In the background full tables become sorted runs in
// Badger, one directory a generation, and generations that are older than the
// window go as a whole.
//
// # Invariants
//
// The numbers I1 to I8 in the code are those of DESIGN.md.
//
// # What it does not do
//
// It does not make a handler's side effect and its own mark one transaction:
// between the two a crash means that the message is handled again. It does not
// share a directory between processes.
package engine
