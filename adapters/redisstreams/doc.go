// Package redisstreams handles each entry of a Redis stream once, over any guard,
// with the client github.com/redis/go-redis/v9. It takes Redis 7.0 or later.
//
//	a, err := redisstreams.New(guard, client, redisstreams.Options{
//		Application: "billing", Stream: "orders", Group: "billing", Consumer: hostname, KeyField: "order-id",
//	})
//	err = a.Run(ctx, handle)
//
// Client, stream and consumer group are the caller's: the package neither makes nor
// closes them.
//
// # What happens to a message
//
//	handled                  XACK, after its key was marked
//	handler failed, panicked its key is free; stays pending for RetryAfter, and longer with each
//	                         attempt; after MaxAttempts it is refused
//	marked before            XACK, the handler does not run
//	in flight elsewhere      stays pending until the other lease ends; that is no attempt
//	refused (ErrReject)      to the stream DeadLetters, or to OnReject, then XACK
//	the handler takes long   its idle time begins anew, three times in each MinIdle
//	stopped                  is due again at once, for any consumer of the group
//
// Redis neither delays nor redelivers by itself: a message that was not acknowledged
// stays in the group's list of pending entries until a consumer claims it. Run does
// that with XAUTOCLAIM, for messages of any consumer that have been idle for MinIdle:
// those of consumers that died, and those that are due again. How long a message has to
// wait is kept in Redis, as its idle time: what must wait 5 of 60 seconds is
// made 55 seconds idle. So a delay outlives its consumer, and is never longer than
// MinIdle; a message that meets its twin after that is sent to wait once more.
//
// # Deliveries
//
// Redis counts how often a message was delivered. The adapter takes back the counts of
// deliveries that were no attempt. A message that has been delivered more than
// MaxAttempts times has killed its consumers, and is refused without its handler.
//
// # Keys
//
// The key of a message is what Options.Key says, else its field Options.KeyField;
// one of them must be set. An entry's own ID is no key: a publisher that sends a message again gets another one.
// Keys are unique within application and stream. A message without a key is handled
// without deduplication (consume.Options.NoKey).
//
// XADD with IDMP (Redis 8.6) has the server refuse an entry whose producer has just
// added one with the same idempotent ID. It remembers at most 10,000 IDs per producer,
// 100 by default, for at most a day, 100 seconds by default, and XCFGSET forgets all of
// them. It helps against a publisher's immediate retries, and ends there: it knows
// nothing of deliveries, so a message comes again after a lost acknowledgement, or a
// slow or dead consumer, and two producers, or one with a new producer ID, add it twice.
// This package is for all of those; use both.
//
// Keep marks longer than anybody adds a message again: [Window], 7 days, is a good
// window for the guard, and [Lease] a good lease; it is extended while handlers run.
//
// # What it does not do
//
// It deletes nothing: entries stay in the stream until somebody trims it, and an entry
// that is trimmed before it was handled is lost. It doesn't remove consumers from the
// group (XGROUP DELCONSUMER loses what is pending for them).
//
// All methods of an Adapter may be called by any number of goroutines at once; several
// calls of Run have batches worked on at the same time.
package redisstreams
