package rocketmqv4_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/adapters/rocketmqv4"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/testguards"
)

// The fourteen holes of RocketMQDedupListener, each through this adapter and on the
// two stores that it has: what it does there is wrong, and here it is not. These are
// the holes of claims; those of keys and of stores have files of their own.

var ctx = context.Background()

// A bed is one memory, and consumers that share it.
type bed struct {
	*testing.T
	name string // redis or mariadb
	addr string
	dir  string
	m    testguards.Memory
}

// eachStore runs f for an empty memory in each store.
func eachStore(t *testing.T, f func(b *bed)) {
	t.Helper()
	for _, m := range testguards.Memories()[1:] {
		t.Run(m.Name, func(t *testing.T) {
			f(&bed{T: t, name: m.Name, addr: m.Addr(t), dir: t.TempDir(), m: m})
		})
	}
}

// guard is another client of the memory.
func (b *bed) guard(lease time.Duration) dedup.Guard {
	b.Helper()
	g, closeGuard, err := b.m.OpenAt(b.addr, b.dir, lease)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = closeGuard() })
	return g
}

// A worker is a consumer of the test's application.
type worker struct {
	*testing.T
	a      *rocketmqv4.Adapter
	handle atomic.Pointer[rocketmqv4.Handler]
	runs   atomic.Int32
}

func newWorker(t *testing.T, g dedup.Guard, change ...func(*rocketmqv4.Options)) *worker {
	t.Helper()
	o := options()
	for _, f := range change {
		f(&o)
	}
	a, err := rocketmqv4.New(g, o)
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{T: t, a: a}
	w.does(func() error { return nil })
	return w
}

// does sets what the handler does from now on.
func (w *worker) does(f func() error) {
	h := rocketmqv4.Handler(func(context.Context, *primitive.MessageExt) error { return f() })
	w.handle.Store(&h)
}

// gets delivers messages as the client does, and returns its answer and the delay
// level that the client is told.
func (w *worker) gets(ms ...*primitive.MessageExt) (consumer.ConsumeResult, int) {
	c := primitive.NewConsumeConcurrentlyContext()
	listen := w.a.Concurrent(func(ctx context.Context, m *primitive.MessageExt) error {
		w.runs.Add(1)
		return (*w.handle.Load())(ctx, m)
	})
	result, err := listen(primitive.WithConcurrentlyCtx(ctx, c), ms...)
	if err != nil {
		w.Error(err)
	}
	return result, c.DelayLevelWhenNextConsume
}

// want delivers messages and wants an answer, and so many runs of the handler so far.
func (w *worker) want(result consumer.ConsumeResult, runs int32, ms ...*primitive.MessageExt) {
	w.Helper()
	if got, _ := w.gets(ms...); got != result {
		w.Fatalf("the client is told %v, want %v", got, result)
	}
	if n := w.runs.Load(); n != runs {
		w.Fatalf("the handler has run %d times, want %d", n, runs)
	}
}

// getsUntilHandled delivers a message until it is acknowledged.
func (w *worker) getsUntilHandled(m *primitive.MessageExt) {
	for giveUp := time.Now().Add(30 * time.Second); ; {
		if result, _ := w.gets(m); result == consumer.ConsumeSuccess {
			return
		}
		if time.Now().After(giveUp) {
			w.Error("a message is not acknowledged for 30 s")
			return
		}
		<-time.After(10 * time.Millisecond)
	}
}

// order is a message with a business key.
func order(tag, key string) *primitive.MessageExt {
	m := &primitive.MessageExt{MsgId: "id", OffsetMsgId: "id"}
	m.Topic = "orders"
	if tag != "" {
		m.WithTag(tag)
	}
	if key != "" {
		m.WithKeys([]string{key})
	}
	return m
}

// A frozen guard can't keep a lease, as that of a process that stands still.
type frozen struct{ dedup.Guard }

func (frozen) Extend(_ context.Context, c dedup.Claim, _ time.Duration) (dedup.Claim, error) {
	return c, errors.New("frozen")
}

const shortLease = 400 * time.Millisecond

// TestHole01NoOwner: a worker that comes too late, with a failure or with a success,
// doesn't touch what another one made of the message meanwhile.
func TestHole01NoOwner(t *testing.T) {
	eachStore(t, func(b *bed) {
		m := order("", "late-failure")
		late, other := newWorker(b.T, frozen{b.guard(shortLease)}), newWorker(b.T, b.guard(shortLease))
		release := make(chan error)
		late.does(func() error { return <-release })
		answer := make(chan consumer.ConsumeResult)
		begin := func(m *primitive.MessageExt) {
			before := late.runs.Load()
			go func() { r, _ := late.gets(m); answer <- r }()
			for late.runs.Load() == before {
				<-time.After(time.Millisecond)
			}
		}
		begin(m)
		other.getsUntilHandled(m) // once the lease has ended
		release <- errors.New("too late")
		if r := <-answer; r != consumer.ConsumeRetryLater {
			b.Errorf("the late failure answers %v", r)
		}
		other.want(consumer.ConsumeSuccess, 1, m)

		m = order("", "late-success")
		begin(m)
		holds, fail := make(chan struct{}), make(chan struct{})
		other.does(func() error { close(holds); <-fail; return errors.New("fails at first") })
		var failed sync.WaitGroup
		failed.Go(func() {
			for done := false; !done; { // until the lease has ended, and this handler has failed
				other.gets(m)
				select {
				case <-holds:
					done = true
				default:
				}
			}
		})
		<-holds
		release <- nil
		if r := <-answer; r != consumer.ConsumeRetryLater {
			b.Errorf("the late success answers %v while another one holds the key", r)
		}
		close(fail)
		failed.Wait()
		other.does(func() error { return nil })
		other.want(consumer.ConsumeSuccess, 3, m) // it was no duplicate of the late success
	})
}

// TestHole02ClaimInTwoSteps: of many that ask while a dead worker's lease ends, one
// handles the message, and its mark is there afterwards.
func TestHole02ClaimInTwoSteps(t *testing.T) {
	eachStore(t, func(b *bed) {
		workers := []*worker{newWorker(b.T, b.guard(shortLease)), newWorker(b.T, b.guard(shortLease))}
		for round := range 3 {
			m := order("", fmt.Sprint("k", round))
			b.holds(m, shortLease/4)
			var asking sync.WaitGroup
			for i := range 8 {
				asking.Go(func() { workers[i%2].getsUntilHandled(m) })
			}
			asking.Wait()
			if n := workers[0].runs.Load() + workers[1].runs.Load(); n != int32(round+1) {
				b.Fatalf("%d handlers ran for %d messages", n, round+1)
			}
		}
	})
}

// holds claims a message's key as a worker does that dies afterwards.
func (b *bed) holds(m *primitive.MessageExt, lease time.Duration) dedup.Claim {
	b.Helper()
	key := consume.JoinedKey(nil, consume.Scope{Application: "test", Topic: m.Topic, Tag: m.GetTags()}, []byte(m.GetKeys()))
	c, err := b.guard(lease).Claim(ctx, key)
	if err != nil || c.Verdict != dedup.Fresh {
		b.Fatalf("claiming %s: %v, %v", m.GetKeys(), c.Verdict, err)
	}
	return c
}

// TestHole03NoRenewal: a handler that takes four leases keeps its message.
func TestHole03NoRenewal(t *testing.T) {
	eachStore(t, func(b *bed) {
		slow, other := newWorker(b.T, b.guard(shortLease)), newWorker(b.T, b.guard(shortLease))
		begun := make(chan struct{})
		slow.does(func() error { close(begun); <-time.After(4 * shortLease); return nil })
		done := make(chan consumer.ConsumeResult, 1)
		go func() { r, _ := slow.gets(order("", "k")); done <- r }()
		<-begun
		met := 0
		for {
			result, _ := other.gets(order("", "k"))
			if other.runs.Load() > 0 {
				b.Fatal("a duplicate was handled while the first one was")
			}
			if result == consumer.ConsumeSuccess { // a duplicate by now
				break
			}
			met++
		}
		if r := <-done; r != consumer.ConsumeSuccess || met == 0 {
			b.Errorf("the slow handler answers %v, %d duplicates met it", r, met)
		}
	})
}

// TestHole12InFlightWithoutATime: a duplicate of a message in flight comes again when
// the lease ends, not before, and on its last delivery it waits in place.
func TestHole12InFlightWithoutATime(t *testing.T) {
	eachStore(t, func(b *bed) {
		w := newWorker(b.T, b.guard(time.Minute))
		for lease, level := range map[time.Duration]int{time.Minute: 5, 8 * time.Second: 3, 25 * time.Second: 4} {
			m := order("", lease.String())
			b.holds(m, lease)
			if result, got := w.gets(m); result != consumer.ConsumeRetryLater || got != level {
				b.Errorf("with a lease of %v it is %v with the delay level %d, want level %d", lease, result, got, level)
			}
		}
		m := order("", "last")
		held := b.holds(m, time.Minute)
		m.ReconsumeTimes = 16
		result := make(chan consumer.ConsumeResult)
		go func() { r, _ := w.gets(m); result <- r }()
		select {
		case r := <-result:
			b.Fatalf("the last delivery did not wait: %v", r)
		case <-time.After(100 * time.Millisecond):
		}
		if err := b.guard(time.Minute).Commit(ctx, held); err != nil {
			b.Fatal(err)
		}
		if r := <-result; r != consumer.ConsumeSuccess || w.runs.Load() != 0 {
			b.Errorf("after the holder's commit it is %v, and %d handlers ran", r, w.runs.Load())
		}
	})
}
