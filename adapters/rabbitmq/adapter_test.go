package rabbitmq_test

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/adapters/rabbitmq"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/internal/testguards"
)

func TestNewNamesEveryProblem(t *testing.T) {
	_, err := rabbitmq.New(nil, rabbitmq.Options{MaxAttempts: -1, Prefetch: -1, Batch: -1, RetryAfter: -1, HoldMax: -1, Waits: []time.Duration{2, 1}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"Application", "Queue", "MaxAttempts", "Prefetch", "Batch", "RetryAfter", "HoldMax", "Waits"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
}

func hostPort(u amqp.URI) string { return net.JoinHostPort(u.Host, strconv.Itoa(u.Port)) }

func adapter(t *testing.T, o rabbitmq.Options) *rabbitmq.Adapter {
	t.Helper()
	a, err := rabbitmq.New(testguards.Engine(t), o)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// start runs a on a connection of its own, and returns what stops it.
func start(t *testing.T, a *rabbitmq.Adapter, url string, h rabbitmq.Handler) (stop func() error) {
	t.Helper()
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, conn, h) }() // ends with stop
	return func() error {
		cancel()
		err := <-done
		_ = conn.Close()
		return err
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for giveUp := time.Now().Add(time.Minute); !ok(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(giveUp) {
			t.Fatalf("waited a minute in vain for %s", what)
		}
	}
}

// deadLetter waits for the one message in the queue's dead letters.
func deadLetter(t *testing.T, address string) amqp.Delivery {
	t.Helper()
	url, queue, _ := strings.Cut(address, " ")
	ch := channel(t, url)
	var d amqp.Delivery
	until(t, "a dead letter", func() bool {
		got, ok, err := ch.Get(queue+".dead", true)
		if err != nil {
			t.Fatal(err)
		}
		d = got
		return ok
	})
	return d
}

// TestRefusedIsADeadLetter: by ErrReject at once, and after MaxAttempts failures
// else, whether the message waits or is held meanwhile.
func TestRefusedIsADeadLetter(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		hold bool
		want int64
	}{
		"ErrReject": {consume.ErrReject, false, 1}, "waits": {errors.New("never"), false, 3}, "held": {errors.New("never"), true, 3},
	} {
		t.Run(name, func(t *testing.T) {
			address := newQueue(t)
			url, queue, _ := strings.Cut(address, " ")
			o := options(queue)
			o.MaxAttempts, o.Hold = 3, c.hold
			var begun atomic.Int64
			stop := start(t, adapter(t, o), url, func(context.Context, *amqp.Delivery) error { begun.Add(1); return c.err })
			produce(t, address, "poison")
			if d := deadLetter(t, address); string(d.Body) != "poison" {
				t.Errorf("dead letter %q", d.Body)
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
			if n := begun.Load(); n != c.want {
				t.Errorf("the handler began %d times, want %d", n, c.want)
			}
		})
	}
}

// TestInFlightSpendsNoDelivery: a message meets its twin in flight more often than the
// queue delivers one, and is handled when the twin has failed.
func TestInFlightSpendsNoDelivery(t *testing.T) {
	address := newQueue(t)
	url, queue, _ := strings.Cut(address, " ")
	g := testguards.Engine(t)
	held, err := g.Claim(t.Context(), consume.JoinedKey(nil, consume.Scope{Application: "test", Topic: queue}, []byte("k")))
	if err != nil || held.Verdict != dedup.Fresh {
		t.Fatal(held.Verdict, err)
	}
	o := options(queue)
	o.Consume.RetryMin, o.Consume.RetryMax = 10*time.Millisecond, 20*time.Millisecond
	a, err := rabbitmq.New(g, o)
	if err != nil {
		t.Fatal(err)
	}
	var effects atomic.Int64
	stop := start(t, a, url, func(context.Context, *amqp.Delivery) error { effects.Add(1); return nil })
	produce(t, address, "k")
	met := func() uint64 {
		for _, c := range a.Consumer().Snapshot() {
			return c.InFlight
		}
		return 0
	}
	until(t, "more meetings than the delivery limit of 20", func() bool { return met() > 25 })
	if err := g.Release(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	until(t, "the effect", func() bool { return effects.Load() > 0 })
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n := effects.Load(); n != 1 {
		t.Errorf("%d effects, want 1", n)
	}
}

// TestWaitingKeepsTheMessage: what comes back from a wait queue is the message that
// its publisher sent, and goes nowhere else.
func TestWaitingKeepsTheMessage(t *testing.T) {
	address := newQueue(t)
	url, queue, _ := strings.Cut(address, " ")
	ch := channel(t, url)
	declare(t, ch, queue+".copy", nil)
	if err := ch.QueueBind(queue, "orders.new", "amq.topic", false, nil); err != nil {
		t.Fatal(err)
	}
	sent := amqp.Publishing{
		Headers: amqp.Table{"tenant": "t1", "CC": []any{queue + ".copy"}}, MessageId: "m", Type: "order", CorrelationId: "c", UserId: "guest",
		Body: []byte("body"),
	}
	if err := ch.PublishWithContext(t.Context(), "amq.topic", "orders.new", true, false, sent); err != nil {
		t.Fatal(err)
	}
	second := make(chan amqp.Delivery, 1)
	var begun atomic.Int64
	stop := start(t, adapter(t, options(queue)), url, func(_ context.Context, d *amqp.Delivery) error {
		if begun.Add(1) == 1 {
			return errors.New("not this time")
		}
		second <- *d
		return nil
	})
	d := <-second
	if err := stop(); err != nil {
		t.Error(err)
	}
	if d.Exchange != "amq.topic" || d.RoutingKey != "orders.new" || d.MessageId != "m" || d.Type != "order" || d.CorrelationId != "c" ||
		d.Headers["tenant"] != "t1" || string(d.Body) != "body" {
		t.Errorf("came back as %+v", d)
	}
	q, err := ch.QueueDeclarePassive(queue+".copy", true, false, false, false, nil)
	if err != nil || q.Messages > 0 { // amq.topic has no such binding: only the default exchange would bring it there
		t.Errorf("%d copies, %v", q.Messages, err)
	}
}

// TestConnectionLost: the connection goes while a handler works. The handler ends,
// Run tells of the loss, and the message is a duplicate on the next connection.
func TestConnectionLost(t *testing.T) {
	address := newQueue(t)
	_, queue, _ := strings.Cut(address, " ")
	url, err := amqp.ParseURI(servertest.Shared(t, servertest.RabbitMQ).Env("RABBITMQ_URL"))
	if err != nil {
		t.Fatal(err)
	}
	proxy := servertest.NewProxy(t, hostPort(url))
	through := strings.Replace(url.String(), hostPort(url), proxy.Addr(), 1)
	conn, err := amqp.Dial(through)
	if err != nil {
		t.Fatal(err)
	}
	a := adapter(t, options(queue))
	lost := conn.NotifyClose(make(chan *amqp.Error, 1))
	var effects atomic.Int64
	produce(t, address, "k")
	err = a.Run(t.Context(), conn, func(context.Context, *amqp.Delivery) error {
		proxy.Cut(1)
		<-lost
		effects.Add(1)
		return nil
	})
	if err == nil {
		t.Error("Run does not tell that the connection is lost")
	}
	stop := start(t, a, url.String(), func(context.Context, *amqp.Delivery) error { effects.Add(1); return nil })
	until(t, "the duplicate", func() bool { return a.Consumer().Snapshot()[0].Duplicate > 0 })
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n := effects.Load(); n != 1 {
		t.Errorf("%d effects, want 1", n)
	}
}
