// Package httpidem makes HTTP operations idempotent: a request with the header
// Idempotency-Key runs once, and each retry of it gets the same answer again.
//
//	m, err := httpidem.New(guard, httpidem.Options{})
//	http.Handle("POST /payments", m.Wrap(payments))
//
// Behind a load balancer the replicas need one memory: give New a shared store
// (stores/redis, stores/mysql, stores/postgres). The embedded engine does for one
// process. The guard must keep results: engine.Options.MaxResult, or the store's
// option of that name.
//
// # What a client gets
//
//	first request          the handler's answer, sent after it was stored
//	retry, done            the stored status, headers and body, Idempotent-Replayed: true
//	retry, still running   409 with Retry-After (Options.RetryAfter); or it waits (Options.Wait)
//	key with other payload 422
//	no key, key not valid  400 (a missing key only with Options.Required)
//	body too large         413
//	answer not stored      409: streamed, hijacked, or larger than Options.MaxAnswer
//	outcome in doubt       409 until it is settled (Options.Intents)
//	store down             503; or it runs unguarded (Options.StoreDown)
//
// Problems are application/problem+json (RFC 9457) with the types listed at
// [TypeKeyMissing].
//
// # What it guarantees
//
//   - Of requests with one key and scope the handler of one runs at a time, as
//     long as its lease lasts; the lease is extended while it runs. A handler whose
//     lease is lost has its context canceled.
//   - An answer is sent only when it was stored, so that no client sees one that a
//     retry would not see again. Statuses that ask for another try (5xx, 408, 409,
//     425, 429) are not stored: the key is free again.
//   - A client that hangs up does not stop the handler's answer from being stored.
//     The handler's context ends, as ever; whether it gives up is its own choice.
//   - A panic leaves the key free, or in doubt with intents.
//
// # What no middleware can do
//
// A process that dies after the handler's effect and before the answer is stored
// leaves a key that nobody holds. Without [Options.Intents] the next retry runs the
// handler again: right where running twice does less harm than not at all, and
// where the effect is idempotent by itself. With Intents the key is in doubt from
// then on and is never run again until somebody who can look, a person or
// Options.Settle, says what happened: right for payments. It costs one durable
// write for each request.
//
// A [Middleware] may be used by any number of goroutines at once.
package httpidem
