// Package partitioned copies a Kafka topic to another without its duplicates, exactly
// once, with an embedded memory that follows its partition from process to process.
//
//	n, err := partitioned.New(partitioned.Options{
//		Dir: "/var/lib/dedup", Input: "orders", Output: "orders-once", Group: "dedup",
//		Client: []kgo.Opt{kgo.SeedBrokers(brokers...)},
//		Engine: engine.Options{Window: 7 * 24 * time.Hour, Sync: engine.SyncInterval},
//	})
//	...
//	err = n.Run(ctx)
//
// For effects elsewhere than in Kafka there are Memories: the guards of package
// kafka's Adapter, one for each partition, that follow their partition in the same
// way, at least once:
//
//	ms, err := partitioned.OpenMemories(ctx, partitioned.MemoriesOptions{Dir: …, Input: "orders", Group: "billing", …})
//	...
//	a, err := kafka.New(nil, kafka.Options{Application: "billing", Guards: ms.Guard,
//		Consume: consume.Options{Join: consume.PlainKey}})
//
// # What it guarantees
//
// A Node:
// Every key within the window has its outputs in the output topic once, for readers
// that read committed records only: outputs, offsets and the log of marks commit in
// one transaction. The log of marks (package marks) is a topic partitioned as the
// input. A partition's directory is a cache of it: a process may be killed at any
// moment, lose its directories and have its partitions moved, and no key is
// forgotten. engine.SyncInterval or SyncNone is enough.
//
// Memories: no effect twice, but for handlers that ran when their process was killed,
// or that worked on after their partition was lost. Commit returns when the marks
// are in the log, on as many brokers as its min.insync.replicas says, and in the
// directory.
//
// # How it works
//
// When a partition is assigned its fetching pauses. The committed offsets are asked
// for until no transaction on them is open, and then for the end of the partition's
// log: all marks of records before those offsets lie below that end. The log is read,
// committed records only, from the position that the directory is known to have, or
// from the window's start into a new one, until its end has been passed; then
// fetching goes on. A file beside the directory holds that position and how far the
// directory's journal had come then, so that an older copy of the directory, or a
// lost one, is noticed and filled anew. A position that is behind costs time only.
// Marks younger than a hundredth of the window are made as if they were of now, in the
// directory that is opened anyway; older ones at their own time, which takes longer.
//
// A round polls records, drops those whose key is marked or came earlier in the
// round, produces the outputs of the others and one record of marks for each
// partition, and ends the transaction. The directory learns its marks after the
// commit. When the outcome of a transaction is not known, or anything else fails,
// the session ends, all partitions are given back, and the next session reads their
// logs again.
//
// # Who may call at once
//
// Run is called once. Several processes, or Nodes with directories of their own,
// share a group.
//
// # What it does not do
//
// It dedups within a partition: producers must partition by the key for
// deduplication. Adding partitions to the input moves keys away from their marks, so
// duplicates pass for a window: each directory reports that once, as a gap. A record
// without a key is copied without deduplication. The results of claims don't follow
// a partition.
package partitioned
