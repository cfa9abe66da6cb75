// Package rpcidem makes unary calls of gRPC and connect idempotent: a call with
// an idempotency key in its metadata runs once, and each retry of it gets the
// same answer again. It is httpidem for RPC, and decides the same way.
//
//	s, err := rpcidem.New(guard, rpcidem.Options{})
//	grpc.NewServer(grpc.ChainUnaryInterceptor(grpcidem.Server(s)))
//	pb.NewPaymentsHandler(p, connect.WithInterceptors(connectidem.Server(s)))
//
// The interceptors are in the packages grpcidem and connectidem, so that a user of
// one framework does not link the other. Both have a client interceptor that sets
// the key and repeats the call with it. Replicas need one memory: give New a
// shared store. The guard must keep results.
//
// # What a client gets
//
//	first call                 the handler's answer, sent after it was stored
//	retry, done                the stored answer, with idempotent-replayed: true
//	retry, still running       ABORTED, IDEMPOTENCY_IN_FLIGHT, with RetryInfo (Options.RetryAfter); or it waits
//	key with another message   INVALID_ARGUMENT, IDEMPOTENCY_MISMATCH
//	no key, key not valid      INVALID_ARGUMENT (a missing key only with Options.Required)
//	caller not known           UNAUTHENTICATED, IDEMPOTENCY_CALLER_UNKNOWN
//	answer not stored          ALREADY_EXISTS, IDEMPOTENCY_ANSWER_NOT_STORED
//	outcome in doubt           FAILED_PRECONDITION, IDEMPOTENCY_IN_DOUBT
//	another call took over     ABORTED, IDEMPOTENCY_LEASE_LOST
//	store down                 UNAVAILABLE, IDEMPOTENCY_STORE_UNAVAILABLE, with RetryInfo
//
// The reason is in an ErrorInfo detail with the domain "firstseen".
//
// # What it guarantees
//
//   - Of calls with one key and scope one handler runs at a time, as long as its
//     lease lasts. A handler whose lease is lost has its context canceled.
//   - An answer is sent only when it was stored. A replay has the same status,
//     message and details, and the metadata named in Options.Headers; in the binary
//     encoding the message has the same bytes. Encoded as JSON by another build of
//     the service it may differ in white space.
//   - Errors that ask for another try (see [Storable]) are not stored.
//   - A panic leaves the key free, or in doubt with [Options.Intents]. What the
//     latter cost, and when to take them, is said in package httpidem; what a
//     server that is killed again and again shows with and without them, in
//     docs/http.md.
//
// # What it does not do
//
// Streams pass untouched. Messages that are not protobuf are refused. A request's
// fingerprint is its procedure and its message, encoded by this build: between two
// builds that differ in the order of fields unknown to one of them, a retry may
// count as another request.
//
// A [Server] may be used by any number of goroutines at once.
package rpcidem
