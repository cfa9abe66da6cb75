package consume_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
)

// A pulsarConsumer has the methods of Pulsar's Consumer that are needed, and
// pulsarMessage those of its Message. The real ones take the client's own types: write
// an adapter's few lines in their words.
type (
	pulsarConsumer interface {
		Ack(m pulsarMessage) error
		ReconsumeLater(m pulsarMessage, delay time.Duration)
	}
	pulsarMessage interface {
		Key() string
		Topic() string
		RedeliveryCount() uint32
	}
)

// handlePulsar is all that a Pulsar consumer needs. ReconsumeLater takes a consumer with
// RetryEnable, whose DLQPolicy has the dead letters.
func handlePulsar(ctx context.Context, c *consume.Consumer, sub pulsarConsumer, m pulsarMessage, h consume.Handler) error {
	d := c.Handle(ctx, consume.Message{
		Key: []byte(m.Key()), Topic: m.Topic(), Deliveries: int(m.RedeliveryCount()) + 1, Value: m,
	}, h)
	if d.Action == consume.Ack {
		return sub.Ack(m)
	}
	sub.ReconsumeLater(m, max(d.Delay, time.Second)) // Reject too: the DLQPolicy ends it
	return nil
}

// Example_pulsar handles each message of a Pulsar subscription once.
func Example_pulsar() {
	c, done := exampleConsumer()
	defer done()
	sub := new(exampleBroker)
	for range 2 { // the second one is a copy
		err := handlePulsar(context.Background(), c, sub, exampleMessage("order-1"), func(_ context.Context, m consume.Message) error {
			fmt.Println("handled", m.Value.(exampleMessage).Key())
			return nil
		})
		if err != nil {
			panic(err)
		}
	}
	fmt.Println("acknowledged", sub.acked)
	// Output:
	// handled order-1
	// acknowledged 2
}

// A pubsubMessage has the fields and methods of Google Pub/Sub's Message that are needed.
type pubsubMessage struct {
	Attributes      map[string]string
	DeliveryAttempt *int // nil without a dead-letter policy
	Ack, Nack       func()
}

// handlePubsub is what Subscription.Receive calls. The subscription's retry policy says
// how long a Nack waits, its dead-letter policy where refused messages go. A message in flight waits in place for a
// while: the client extends its deadline meanwhile.
func handlePubsub(ctx context.Context, c *consume.Consumer, topic string, m *pubsubMessage, h consume.Handler) {
	cm := consume.Message{Key: []byte(m.Attributes["order-id"]), Topic: topic, Wait: 10 * time.Second, Value: m}
	if m.DeliveryAttempt != nil {
		cm.Deliveries = *m.DeliveryAttempt
	}
	if c.Handle(ctx, cm, h).Action == consume.Ack {
		m.Ack()
		return
	}
	m.Nack()
}

// Example_pubsub handles each message of a Google Pub/Sub subscription once.
func Example_pubsub() {
	c, done := exampleConsumer()
	defer done()
	failed := false
	m := &pubsubMessage{
		Attributes: map[string]string{"order-id": "1"},
		Ack:        func() { fmt.Println("Ack") },
		Nack:       func() { fmt.Println("Nack") },
	}
	for range 3 {
		handlePubsub(context.Background(), c, "orders", m, func(context.Context, consume.Message) error {
			if !failed {
				failed = true
				return errors.New("not this time")
			}
			fmt.Println("handled")
			return nil
		})
	}
	// Output:
	// Nack
	// handled
	// Ack
	// Ack
}

// errKeyAlreadyExists stands for service.ErrKeyAlreadyExists of Benthos and Redpanda
// Connect.
var errKeyAlreadyExists = errors.New("key already exists")

// A benthosCache has the method of a cache that the dedupe processor calls. The
// processor adds a key before the message is handled, and knows no other order: what fails later
// is lost unless the pipeline deletes the key.
type benthosCache struct{ guard dedup.Guard }

func (c benthosCache) Add(ctx context.Context, key string, _ []byte, _ *time.Duration) error {
	claim, err := c.guard.Claim(ctx, []byte(key))
	switch {
	case claim.Verdict == dedup.Duplicate:
		return errKeyAlreadyExists
	case err != nil:
		return err
	case claim.Verdict != dedup.Fresh:
		return fmt.Errorf("the key is %v", claim.Verdict) // somebody adds it at the moment: have the message retried
	}
	return c.guard.Commit(ctx, claim)
}

// Example_benthos is a cache for the dedupe processor of Benthos or Redpanda Connect,
// whose keys outlive the process.
func Example_benthos() {
	guard, done := exampleEngine()
	defer done()
	cache := benthosCache{guard}
	fmt.Println(cache.Add(context.Background(), "order-1", nil, nil))
	fmt.Println(cache.Add(context.Background(), "order-1", nil, nil))
	// Output:
	// <nil>
	// key already exists
}

type exampleBroker struct{ acked int }

func (b *exampleBroker) Ack(pulsarMessage) error                     { b.acked++; return nil }
func (b *exampleBroker) ReconsumeLater(pulsarMessage, time.Duration) {}

type exampleMessage string

func (m exampleMessage) Key() string           { return string(m) }
func (exampleMessage) Topic() string           { return "orders" }
func (exampleMessage) RedeliveryCount() uint32 { return 0 }

func exampleEngine() (guard dedup.Guard, done func()) {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		panic(err)
	}
	e, err := engine.Open(dir, engine.Options{Window: time.Hour, MinFreeDisk: -1})
	if err != nil {
		panic(err)
	}
	return e, func() { _ = e.Close(); _ = os.RemoveAll(dir) }
}

func exampleConsumer() (c *consume.Consumer, done func()) {
	guard, done := exampleEngine()
	c, err := consume.New(guard, consume.Options{Scope: consume.Scope{Application: "billing"}})
	if err != nil {
		panic(err)
	}
	return c, done
}
