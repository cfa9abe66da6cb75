// Package rocketmq handles each RocketMQ message once, over any guard, with the
// client github.com/apache/rocketmq-clients/golang/v5 (RocketMQ 5 and its proxy).
// For 4.x clusters see adapters/rocketmqv4.
//
//	a, err := rocketmq.New(guard, rocketmq.Options{Application: "billing"})
//	push: rmq.WithPushMessageListener(a.Listener(handle))
//	pull: err = a.Run(ctx, simpleConsumer, handle)
//
// The client is the caller's: the package neither starts nor stops it.
//
// # What happens to a message
//
//	handled                  acknowledged, after its key was marked
//	handler failed, panicked its key is free; FAILURE, or delivered again after RetryAfter
//	marked before            acknowledged, the handler does not run
//	in flight elsewhere      simple consumer: delivered again when the other lease ends
//	                         push: waits for the holder up to PushWait, then FAILURE,
//	                         since a push consumer can't delay a message
//	refused (ErrReject)      OnReject; without it delivered again until the broker
//	                         moves it to the dead letters
//
// Every delivery counts for RocketMQ's limit of attempts, also those that only met a
// message in flight; on the last one the message waits in place (consume.WaitMax)
// instead of ending among the dead letters.
//
// # Keys
//
// The key of a message is what Options.Key says, else its first business key (KEYS),
// else the id that its producer made, which stays the same when the message is sent
// back. Ids of the Go v2 producer repeat under load and lose messages: a warning is
// logged once and they are counted (Adapter.WeakIDs). Keys are unique within
// application, topic and tag.
//
// Keep marks longer than the longest redelivery: [Window], 7 days, is a good window
// for the guard, and [Lease] a good lease; it is extended while handlers run.
//
// All methods of an Adapter may be called by any number of goroutines at once.
package rocketmq
