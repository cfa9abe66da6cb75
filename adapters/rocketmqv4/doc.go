// Package rocketmqv4 handles each RocketMQ message once, over any guard, with the
// client github.com/apache/rocketmq-client-go/v2 (remoting protocol, 4.x and 5.x
// clusters). For RocketMQ 5 and its proxy see adapters/rocketmq.
//
//	a, err := rocketmqv4.New(guard, rocketmqv4.Options{Application: "billing"})
//	err = c.Subscribe("orders", consumer.MessageSelector{}, a.Concurrent(handle))
//	err = c.Subscribe("orders", consumer.MessageSelector{}, a.Orderly(handle)) // WithConsumerOrder(true)
//
// The client is the caller's: the package neither starts nor stops it.
//
// # What happens to a message
//
//	handled                  acknowledged, after its key was marked
//	handler failed, panicked its key is free; sent back (concurrent), or the queue is
//	                         suspended for a moment (orderly)
//	marked before            acknowledged, the handler does not run
//	in flight elsewhere      concurrent: sent back with the delay level next above the
//	                         remaining lease; orderly: the queue waits that long
//	refused (ErrReject)      concurrent: to the dead letters at once; orderly: OnReject
//
// The client acknowledges a batch as a whole (it ignores AckIndex): where one message
// of several has to come again, all are sent back, and those that were handled are
// duplicates then. On the last delivery a message that is in flight waits in place
// (consume.WaitMax) instead of ending among the dead letters. With broadcasting,
// where the client drops what fails, that is every delivery.
//
// # Keys
//
// The key of a message is what Options.Key says, else its first business key (KEYS),
// else UNIQ_KEY, else ORIGIN_MESSAGE_ID, which before a message is sent back is the id
// of its place in the log. UNIQ_KEYs of the Go producer repeat under
// load and lose messages: a warning is logged once and they are counted
// (Adapter.WeakIDs). Keys are unique within application, topic and tag, and with
// broadcasting within the instance.
//
// All methods of an Adapter may be called by any number of goroutines at once.
package rocketmqv4
