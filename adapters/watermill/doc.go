// Package watermill handles each message of a Watermill router once, over any guard.
//
//	a, err := watermill.New(guard, watermill.Options{Application: "billing", Publisher: publisher})
//	handler := router.AddHandler("orders", "orders", subscriber, "invoices", publisher, handle)
//	handler.AddMiddleware(a.Middleware)
//
// Router, subscribers and publishers are the caller's.
//
// # What happens to a message
//
//	handled                  acknowledged, after what its handler produced was published and its
//	                         key was marked
//	handler failed, panicked its key is free; the error goes on to the router, which has the
//	                         message delivered again
//	marked before            acknowledged, the handler does not run
//	in flight elsewhere      waits in place for Wait, then an error as above
//	refused (ErrReject)      OnReject, then acknowledged; without it the error goes on, for
//	                         Watermill's PoisonQueue
//	store down               an error, after a pause
//
// Watermill's own Deduplicator marks a message before its handler runs, so a message
// whose handler fails, or whose process dies, is lost. Here it is marked afterwards.
//
// A router publishes what a handler returns when all middlewares are done. That would
// be after the mark: a message whose results could not be published would come again
// as a duplicate, and they would be lost. So the middleware publishes them itself, with
// Options.Publisher, to the handler's topic. Without a Publisher a handler that returns messages
// is an error.
//
// Middlewares that are added before this one are around it. Retry belongs inside,
// added after it, so that all tries run under one claim; PoisonQueue outside.
//
// # Keys
//
// The key of a message is what Options.Key says, else its metadata
// Options.KeyMetadata, else its UUID. Keys are unique within application, topic and
// name of the handler, since each handler of a topic has every message.
//
// Keep marks longer than anybody publishes a message again: [Window], 7 days, is a good
// window for the guard, and [Lease] a good lease; it is extended while handlers run.
//
// # Watermill's Deduplicator
//
// [Repository] is an ExpiringKeyRepository for those who keep the Deduplicator. Its memory
// is durable and exact, but its order is Watermill's: a message is marked first, and lost
// where its handler fails.
//
// All methods may be called by any number of goroutines at once.
package watermill
