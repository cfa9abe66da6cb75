// Package rabbitmq handles each message of a RabbitMQ queue once, over any guard,
// with the client github.com/rabbitmq/amqp091-go.
//
//	a, err := rabbitmq.New(guard, rabbitmq.Options{Application: "billing", Queue: "orders"})
//	err = a.Run(ctx, conn, handle)                      // channels of its own
//	err = a.Process(ctx, waits, handle, deliveries...)  // deliveries of yours
//
// Connection, exchanges and queue are the caller's. Only wait queues are declared
// here (OpenWaits). The caller's channels and their publisher confirms are left
// alone.
//
// # What happens to a message
//
//	handled                  Ack, after its key was marked
//	handler failed, panicked its key is free; waits for RetryAfter and more with each attempt;
//	                         after MaxAttempts it is refused
//	marked before            Ack, the handler does not run
//	in flight elsewhere      waits until the other lease ends; that is no attempt
//	refused (ErrReject)      OnReject, then Nack without requeue: the queue's dead-letter
//	                         exchange has it, or nobody if it has none
//	stopped                  left unacknowledged: the broker delivers it again when the
//	                         channel closes
//
// A message that waits is published to a wait queue, and acknowledged when the
// broker has confirmed that. The wait queue brings it back when its time is over. It
// stays there until the queue has confirmed it (at-least-once dead lettering), so it
// is never lost, but it may be there twice, which the guard deals with. With Hold, or
// without Waits, it is kept unacknowledged instead. It is never requeued at once: that
// spins, and spends the delivery limit.
//
// # Deliveries
//
// What the broker counts (x-delivery-count) ends when a message waits, since it is
// published anew; the header firstseen-attempts goes on with the count. Set MaxAttempts no higher
// than the queue's x-delivery-limit, which still ends messages that kill their
// consumers. On the last attempt a message that is in flight elsewhere waits in place
// (consume.Options.WaitMax).
//
// A message that has waited has lost user-id and expiration, the headers CC, BCC and
// x-death, and its place in the order. Exchange and routing key are those of its
// publisher again.
//
// # Keys
//
// The key of a message is what Options.Key says, else the header Options.KeyHeader,
// else the property message-id. Keys are unique within application and queue. Keep
// marks longer than anybody sends a message again: [Window], 7 days, is a good window
// for the guard, and [Lease] a good lease; it is extended while handlers run.
//
// All methods of an Adapter may be called by any number of goroutines at once.
package rabbitmq
