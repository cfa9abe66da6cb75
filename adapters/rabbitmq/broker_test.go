package rabbitmq_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/firstseen/firstseen/adapters/adaptertest"
	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/adapters/rabbitmq"
	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/internal/testguards"
)

var (
	waits = adaptertest.Config{
		Name: "waits", NewTopic: newQueue, Produce: produce, Consume: consumeWith(false), Guard: testguards.OpenEngine,
		Patience: time.Minute, Quiet: 500 * time.Millisecond,
	}
	hold = adaptertest.Config{
		Name: "hold", NewTopic: newQueue, Produce: produce, Consume: consumeWith(true), Guard: testguards.OpenEngine,
		Patience: time.Minute, Quiet: 500 * time.Millisecond,
	}
	inbox = testguards.Inbox(waits, testguards.Postgres)
)

func TestMain(m *testing.M) { adaptertest.Main(servertest.With(m), waits, hold, inbox) }

var queues atomic.Int64

// newQueue makes a quorum queue of a name of its own, whose dead letters go to
// another with ".dead" behind it.
func newQueue(t testing.TB) string {
	url := servertest.Shared(t, servertest.RabbitMQ).Env("RABBITMQ_URL")
	name := fmt.Sprintf("q%d-%d", os.Getpid(), queues.Add(1))
	ch := channel(t, url)
	declare(t, ch, name+".dead", nil)
	declare(t, ch, name, amqp.Table{
		amqp.QueueTypeArg: amqp.QueueTypeQuorum, "x-delivery-limit": 20,
		"x-dead-letter-exchange": "", "x-dead-letter-routing-key": name + ".dead",
	})
	return url + " " + name
}

func declare(t testing.TB, ch *amqp.Channel, name string, args amqp.Table) {
	t.Helper()
	if _, err := ch.QueueDeclare(name, true, false, false, false, args); err != nil {
		t.Fatal(err)
	}
}

// channel opens a connection that ends with the test.
func channel(t testing.TB, url string) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

func produce(t testing.TB, address string, keys ...string) {
	t.Helper()
	url, queue, _ := strings.Cut(address, " ")
	ch := channel(t, url)
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	sent := make([]*amqp.DeferredConfirmation, 0, len(keys))
	for _, key := range keys {
		c, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), "", queue, true, false,
			amqp.Publishing{MessageId: key, DeliveryMode: amqp.Persistent, Body: []byte(key)})
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, c)
	}
	for _, c := range sent {
		if ok, err := c.WaitContext(t.Context()); err != nil || !ok {
			t.Fatal(ok, err)
		}
	}
}

func options(queue string) rabbitmq.Options {
	return rabbitmq.Options{
		Application: "test", Queue: queue, RetryAfter: 50 * time.Millisecond,
		Waits:   []time.Duration{50 * time.Millisecond, 400 * time.Millisecond},
		Consume: consume.Options{RetryMax: 300 * time.Millisecond}, // the suite's leases are long
	}
}

func consumeWith(hold bool) func(context.Context, adaptertest.Session) error {
	return func(ctx context.Context, s adaptertest.Session) error {
		url, queue, _ := strings.Cut(s.Address, " ")
		o := options(queue)
		o.Hold = hold
		a, err := rabbitmq.New(s.Guard, o)
		if err != nil {
			return err
		}
		conn, err := amqp.Dial(url)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		return a.Run(ctx, conn, func(ctx context.Context, d *amqp.Delivery) error { return s.Handle(ctx, string(d.Body)) })
	}
}

func TestWaits(t *testing.T) {
	t.Parallel() // nearly all of it is waiting
	adaptertest.Run(t, waits)
}

func TestHold(t *testing.T) {
	t.Parallel()
	adaptertest.Run(t, hold)
}

func TestStorm(t *testing.T) { adaptertest.RunStorm(t, waits, testguards.Storm(1000, 2)) }

// TestStormInbox: where an effect shares a transaction with its mark it happens exactly
// once.
func TestStormInbox(t *testing.T) { adaptertest.RunStorm(t, inbox, testguards.Storm(300, 2)) }
