// Package kafka handles each Kafka record once, over any guard, with the client
// github.com/twmb/franz-go/pkg/kgo.
//
//	a, err := kafka.New(guard, kafka.Options{Application: "billing"})
//	...
//	cl, err := kgo.NewClient(append(a.Options(),
//		kgo.SeedBrokers(brokers...), kgo.ConsumerGroup("billing"), kgo.ConsumeTopics("orders"))...)
//	...
//	err = a.Run(ctx, cl, handle)
//
// The client is the caller's: the package neither makes nor closes it.
//
// # Which way to take
//
//	effects anywhere, a shared store          this package, with a guard of stores/...
//	effects anywhere, one process             this package, with an engine as the guard
//	effects anywhere, many machines, no store this package, with the Guards of
//	                                          adapters/kafka/partitioned's Memories
//	topic to topic, many machines, no store   adapters/kafka/partitioned
//
// An engine belongs to one process: as the guard of New it knows only what this
// process saw, so a partition that moves to another process meets an empty memory
// there. Where partitions move and no store is shared, package partitioned has the
// memory follow its partition.
//
// # What happens to a record
//
//	handled                   its offset is committed, after its key was marked
//	handler failed, panicked  its key is free; handled again after RetryAfter
//	marked before             its offset is committed, the handler does not run
//	in flight elsewhere       handled again when the other lease ends
//	refused (ErrReject)       OnReject, or the topic DeadLetters; without both it is
//	                          logged, and its offset is committed
//
// A record that is handled again stops its partition, and no other: nothing behind
// its batch is handled, fetching pauses, and no offset passes it. It is tried until
// it succeeds or is refused, since Kafka counts no deliveries. Batches of different
// partitions are handled at once.
//
// # What it guarantees
//
// Every effect at least once, and a second time only where a handler had run and its
// process died before the commit of its claim, or where a handler worked on after its
// lease or its partition was lost. When a partition is revoked, its handlers have
// Options.Grace to end; then their contexts end with the cause [ErrRevoked]. When it
// is lost they end at once, with [ErrLost], and no offset of it is committed. Kafka
// can't stop a handler that doesn't heed its context, and neither can this package.
//
// # Keys
//
// A record's key for deduplication is what Options.Key says, by default the record's
// own. It is unique within application and topic. Duplicates that reach different
// partitions may be handled by two processes at once, which a shared store settles at
// the price of waiting, and which one memory for each partition can't see. So the
// package compares each record's partition with the one that Kafka's own partitioner
// (murmur2) gives the key for deduplication, warns once for each topic, and counts
// (Adapter.Misplaced).
//
// # What it does not do
//
// It refuses share groups, in which nobody owns a partition. It makes no topic.
//
// All methods of an Adapter may be called by any number of goroutines, but Run once.
package kafka
