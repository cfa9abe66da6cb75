// Package nats handles each message of a NATS JetStream stream once, over any
// guard, with the client github.com/nats-io/nats.go/jetstream.
//
//	a, err := nats.New(guard, nats.Options{Application: "billing", Consumer: cons.CachedInfo().Config})
//	pull: err = a.Run(ctx, cons, handle)
//	callback: cc, err := cons.Consume(a.MessageHandler(handle))
//
// Connection, stream and consumer are the caller's: the package neither makes nor
// closes them.
//
// # What happens to a message
//
//	handled                  Ack, after its key was marked
//	handler failed, panicked its key is free; NakWithDelay by the consumer's BackOff, or RetryAfter
//	marked before            Ack, the handler does not run
//	in flight elsewhere      NakWithDelay until the other lease ends
//	refused (ErrReject)      OnReject, then Term: never delivered again
//	the handler takes long   InProgress, three times in each AckWait
//
// Every delivery counts for the consumer's MaxDeliver, also those that only met a
// message in flight. On the last one such a message waits in place
// (consume.Options.WaitMax), since the server would not deliver it again. A message
// whose handler fails on its last delivery stays in the stream, and the server tells
// of it by an advisory: OnReject is not called.
//
// # Keys
//
// The key of a message is what Options.Key says, else its header Options.KeyHeader,
// by default Nats-Msg-Id. Keys are unique within application and stream. A message
// without a key is handled without deduplication (consume.Options.NoKey); its
// sequence in the stream is no key, since it begins anew with a new stream.
//
// The server's own duplicate window (2 minutes by default) refuses a message whose
// Nats-Msg-Id it has stored within the window. It helps against a publisher's
// retries, and ends there: it knows nothing of deliveries, so a message comes again
// after a lost acknowledgement, a slow or a dead consumer, and a publisher that
// retries later is stored twice. This package is for all of those.
//
// Keep marks longer than the stream keeps messages, or than anybody publishes one
// again: [Window], 7 days, is a good window for the guard, and [Lease] a good lease;
// it is extended while handlers run.
//
// # What it does not do
//
// Acknowledgements are not confirmed by the server (no DoubleAck): one that is lost
// has the message delivered again, as a duplicate. Ordered consumers and those
// that acknowledge all before a message (AckAll) or nothing are refused.
//
// All methods of an Adapter may be called by any number of goroutines at once.
package nats
