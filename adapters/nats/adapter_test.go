package nats_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/adapters/nats"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/testguards"
)

func TestNewNamesEveryProblem(t *testing.T) {
	_, err := nats.New(nil, nats.Options{
		RetryAfter: -1, Batch: -1, Consumer: jetstream.ConsumerConfig{AckPolicy: jetstream.AckAllPolicy},
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"Application", "AckPolicy", "RetryAfter", "Batch"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
}

// run consumes address with o until the topic is drained, or what is true.
func run(t *testing.T, g dedup.Guard, address string, o nats.Options, h nats.Handler, until func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, nc, err := consumer(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	o.Application, o.Consumer = "test", c.CachedInfo().Config
	a, err := nats.New(g, o)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, c, h) }() // ends with ctx
	for !until() {
		select {
		case <-ctx.Done():
			t.Fatal("waited a minute in vain")
		case <-time.After(5 * time.Millisecond):
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func isDrained(t *testing.T, address string) func() bool {
	return func() bool {
		ok, err := drained(address)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
}

// TestBeyondTheServersWindow: what the server stores twice, since its own window is
// over, has one effect.
func TestBeyondTheServersWindow(t *testing.T) {
	address := newStreamOf(t, jetstream.StreamConfig{Duplicates: 100 * time.Millisecond}, jetstream.ConsumerConfig{})
	js := embedded.stream(t)
	stored := 0
	for giveUp := time.Now().Add(30 * time.Second); stored < 2; {
		ack, err := js.Publish(t.Context(), streamOf(address), []byte("order"), jetstream.WithMsgID("order-1"))
		if err != nil {
			t.Fatal(err)
		}
		if !ack.Duplicate {
			stored++
		}
		if time.Now().After(giveUp) {
			t.Fatal("the server's window did not end")
		}
	}
	var effects atomic.Int64
	run(t, testguards.Engine(t), address, nats.Options{}, func(context.Context, jetstream.Msg) error { effects.Add(1); return nil }, isDrained(t, address))
	if n := effects.Load(); n != 1 {
		t.Fatalf("%d effects, want 1", n)
	}
}

// TestLongHandler: the server gets word of a handler that takes longer than AckWait,
// so the message is delivered once.
func TestLongHandler(t *testing.T) {
	const ackWait = 400 * time.Millisecond
	address := newStreamOf(t, jetstream.StreamConfig{}, jetstream.ConsumerConfig{AckWait: ackWait})
	produce(t, address, "long", "behind")
	var most atomic.Uint64
	run(t, testguards.Engine(t), address, nats.Options{KeyHeader: keyHeader}, func(_ context.Context, m jetstream.Msg) error {
		md, err := m.Metadata()
		if err != nil {
			return err
		}
		most.Store(max(most.Load(), md.NumDelivered))
		<-time.After(4 * ackWait)
		return nil
	}, isDrained(t, address))
	if info := consumerInfo(t, address); most.Load() != 1 || info.Delivered.Consumer != 2 {
		t.Fatalf("delivery %d was handled and there were %d, want the first of 2", most.Load(), info.Delivered.Consumer)
	}
}

// TestInFlightOnLastDelivery: a message that meets its twin in flight on its only
// delivery waits for the twin, which fails; it is not lost.
func TestInFlightOnLastDelivery(t *testing.T) {
	address := newStreamOf(t, jetstream.StreamConfig{}, jetstream.ConsumerConfig{MaxDeliver: 1})
	g := testguards.Engine(t)
	key := consume.JoinedKey(nil, consume.Scope{Application: "test", Topic: streamOf(address)}, []byte("k"))
	held, err := g.Claim(t.Context(), key)
	if err != nil || held.Verdict != dedup.Fresh {
		t.Fatal(held.Verdict, err)
	}
	released := time.AfterFunc(300*time.Millisecond, func() { _ = g.Release(context.Background(), held) })
	defer released.Stop()
	produce(t, address, "k")
	var effects atomic.Int64
	run(t, g, address, nats.Options{KeyHeader: keyHeader},
		func(context.Context, jetstream.Msg) error { effects.Add(1); return nil },
		func() bool { return effects.Load() > 0 && isDrained(t, address)() })
	if n := effects.Load(); n != 1 {
		t.Fatalf("%d effects, want 1", n)
	}
}

// TestReject: a refused message is told to OnReject and delivered again only where
// that fails.
func TestReject(t *testing.T) {
	address := newStreamOf(t, jetstream.StreamConfig{}, jetstream.ConsumerConfig{})
	produce(t, address, "poison")
	var told atomic.Int64
	o := nats.Options{KeyHeader: keyHeader, RetryAfter: 10 * time.Millisecond, OnReject: func(_ context.Context, _ jetstream.Msg, why error) error {
		if !errors.Is(why, consume.ErrReject) {
			t.Errorf("told %v", why)
		}
		if told.Add(1) == 1 {
			return errors.New("the dead letters are full")
		}
		return nil
	}}
	run(t, testguards.Engine(t), address, o, func(context.Context, jetstream.Msg) error { return fmt.Errorf("poison: %w", consume.ErrReject) }, isDrained(t, address))
	if info := consumerInfo(t, address); told.Load() != 2 || info.Delivered.Consumer != 2 {
		t.Fatalf("told %d times with %d deliveries, want 2 and 2", told.Load(), info.Delivered.Consumer)
	}
}

func consumerInfo(t *testing.T, address string) *jetstream.ConsumerInfo {
	t.Helper()
	c, err := embedded.stream(t).Consumer(t.Context(), streamOf(address), "c")
	if err != nil {
		t.Fatal(err)
	}
	return c.CachedInfo()
}
