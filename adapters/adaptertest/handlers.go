package adaptertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/firstseen/firstseen/adapters/consume"
)

// handlerCases run their consumers in this process.
var handlerCases = []testCase{
	{"EachOnce", longLease, eachOnce},
	{"SentTwice", longLease, sentTwice},
	{"SentAgainLater", longLease, sentAgainLater},
	{"HandlerError", longLease, handlerError},
	{"HandlerPanic", longLease, handlerPanic},
	{"SentTwiceFailing", longLease, sentTwiceFailing},
	{"SlowHandler", shortLease, slowHandler},
	{"TwinsOnTwoConsumers", longLease, twinsOnTwoConsumers},
	{"FailingTwin", longLease, failingTwin},
	{"Poison", longLease, poison},
	{"StoreDown", longLease, storeDown},
	{"BadMessages", longLease, badMessages},
	{"ShutdownUnderLoad", longLease, shutdownUnderLoad},
}

func succeed(context.Context, string) error { return nil }

func eachOnce(b *bed) {
	keys := keysOf("once", 50)
	b.start(succeed)
	b.Produce(b.TB, b.address, keys...)
	b.wantOnce(keys)
}

func sentTwice(b *bed) {
	keys := keysOf("twice", 30)
	b.start(succeed)
	for _, key := range keys {
		b.Produce(b.TB, b.address, key, key)
	}
	b.wantOnce(keys)
}

// sentAgainLater: a duplicate that comes long after, and after a restart of the
// consumer.
func sentAgainLater(b *bed) {
	keys := keysOf("later", 20)
	stop := b.start(succeed)
	b.Produce(b.TB, b.address, keys...)
	b.wantOnce(keys)
	stop()
	b.Produce(b.TB, b.address, keys...)
	b.Produce(b.TB, b.address, "last")
	b.start(succeed)
	b.wantOnce(append(keys, "last"))
}

// failing is a handler that fails the first n times for each key.
func (b *bed) failing(n int, fail func() error) func(context.Context, string) error {
	return func(_ context.Context, key string) error {
		if b.begunOf(key) <= n {
			return fail()
		}
		return nil
	}
}

// handlerError: a failed message comes again, also one with twins.
func handlerError(b *bed) {
	keys := keysOf("fails", 6)
	b.start(b.failing(2, func() error { return errors.New("not this time") }))
	b.Produce(b.TB, b.address, append(keys, keys[:3]...)...)
	b.wantOnce(keys)
}

func handlerPanic(b *bed) {
	keys := keysOf("panics", 4)
	b.start(b.failing(1, func() error { panic("a handler of the suite panics") }))
	b.Produce(b.TB, b.address, append(keys, keys[0])...)
	b.wantOnce(keys)
}

// sentTwiceFailing: of messages that all come twice, some of whose handlers fail or
// panic at first, each has one effect.
func sentTwiceFailing(b *bed) {
	keys := keysOf("both", 30)
	panics, fails := keys[7], []string{keys[17], keys[27]}
	b.start(func(_ context.Context, key string) error {
		switch first := b.begunOf(key) == 1; {
		case first && key == panics:
			panic("a handler of the suite panics")
		case first && slices.Contains(fails, key):
			return errors.New("not this time")
		}
		return nil
	})
	b.Produce(b.TB, b.address, append(keys, keys...)...)
	b.wantOnce(keys)
	for _, key := range append(fails, panics) {
		if n := b.begunOf(key); n != 2 {
			b.Errorf("the handler of %s, which fails at first, ran %d times, want twice", key, n)
		}
	}
}

// slowHandler: a handler that takes longer than its lease keeps its key.
func slowHandler(b *bed) {
	slow := func(ctx context.Context, _ string) error {
		t := time.NewTimer(5 * b.lease / 2)
		defer t.Stop()
		select {
		case <-t.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	b.start(slow)
	b.start(slow)
	b.Produce(b.TB, b.address, "slow", "slow", "slow too")
	b.wantOnce([]string{"slow", "slow too"})
	b.wantNoOverlap()
}

func (b *bed) wantNoOverlap() {
	b.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.most > 1 {
		b.Errorf("%d handlers worked on one key at once", b.mu.most)
	}
}

func twinsOnTwoConsumers(b *bed) {
	keys := keysOf("twins", 40)
	busy := func(context.Context, string) error {
		<-time.After(2 * time.Millisecond) // so that twins meet
		return nil
	}
	b.start(busy)
	b.start(busy)
	for _, key := range keys {
		b.Produce(b.TB, b.address, key, key, key)
	}
	b.wantOnce(keys)
	b.wantNoOverlap()
}

// failingTwin: the first one fails while its twin waits; the effect still comes.
func failingTwin(b *bed) {
	var failed atomic.Bool
	handle := func(ctx context.Context, _ string) error {
		if failed.CompareAndSwap(false, true) {
			t := time.NewTimer(300 * time.Millisecond)
			defer t.Stop()
			select {
			case <-t.C:
			case <-ctx.Done():
			}
			return errors.New("the first one fails")
		}
		return nil
	}
	b.start(handle)
	b.start(handle)
	b.Produce(b.TB, b.address, "k", "k")
	b.wantOnce([]string{"k"})
	b.wantNoOverlap()
}

// poison: a message that never succeeds doesn't keep the others away, and is not
// delivered for ever.
func poison(b *bed) {
	keys := keysOf("good", 20)
	b.start(func(_ context.Context, key string) error {
		if key == "poison" {
			return fmt.Errorf("%w: the suite's poison", consume.ErrReject)
		}
		return nil
	})
	b.Produce(b.TB, b.address, append([]string{"poison"}, keys[:10]...)...)
	b.Produce(b.TB, b.address, append(keys[10:], "poison")...)
	b.wantOnce(keys)
	b.until("the poison's handler", func() bool { return b.begunOf("poison") > 0 })
	if n := b.effectsOf()["poison"]; n != 0 {
		b.Fatalf("the poison had %d effects", n)
	}
}

// storeDown: while the guard can't be asked nothing is handled and nothing is
// lost.
func storeDown(b *bed) {
	keys := keysOf("down", 10)
	b.start(succeed)
	b.Produce(b.TB, b.address, "before")
	b.wantOnce([]string{"before"})
	b.guard.set(true)
	b.Produce(b.TB, b.address, keys...)
	b.Produce(b.TB, b.address, "before")
	<-time.After(300 * time.Millisecond) // a wrong adapter's time to handle them
	for key, n := range b.effectsOf() {
		if key != "before" {
			b.Fatalf("%q had %d effects while nobody could say whether it was fresh", key, n)
		}
	}
	b.guard.set(false)
	b.wantOnce(append(keys, "before"))
}

// badMessages: those without a key, among good ones.
func badMessages(b *bed) {
	keys := keysOf("good", 20)
	b.start(succeed)
	var all []string
	for i, key := range keys {
		all = append(all, key)
		if i%5 == 2 {
			all = append(all, "")
		}
	}
	b.Produce(b.TB, b.address, all...)
	b.wantOnce(keys)
}

// shutdownUnderLoad: a consumer that stops in good order leaves nothing half
// done, so there is no effect twice.
func shutdownUnderLoad(b *bed) {
	keys := keysOf("load", 200)
	var stopping atomic.Bool
	work := func(context.Context, string) error {
		<-time.After(time.Millisecond)
		if stopping.Load() { // so that one certainly runs when a wrong Consume returns
			<-time.After(30 * time.Millisecond)
		}
		return nil
	}
	stop := b.start(work)
	b.Produce(b.TB, b.address, keys...)
	b.until("a load", func() bool { return len(b.effectsOf()) > 20 })
	stopping.Store(true)
	stop()
	stopping.Store(false)
	b.mu.Lock()
	for key, n := range b.mu.active {
		if n > 0 {
			b.Errorf("the handler of %q still runs when Consume has returned", key)
		}
	}
	b.mu.Unlock()
	b.start(work)
	b.wantOnce(keys)
}
