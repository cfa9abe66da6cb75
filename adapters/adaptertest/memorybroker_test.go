package adaptertest_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/rpc"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/adapters/adaptertest"
	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
)

// A Queue is the simplest broker that has what matters: a delivered message is
// invisible for a while and comes again unless it was acknowledged. It serves
// other processes by net/rpc.
type Queue struct {
	mu      sync.Mutex
	waiting map[int]*queued
	last    int
}

type queued struct {
	key     string
	visible time.Time
}

// Delivery is one message at a consumer.
type Delivery struct {
	ID  int
	Key string
}

// invisible is how long a delivered message is, and so when the messages of a
// dead consumer come again.
const invisible = 700 * time.Millisecond

func (q *Queue) Send(keys []string, _ *struct{}) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, key := range keys {
		q.last++
		q.waiting[q.last] = &queued{key: key}
	}
	return nil
}

func (q *Queue) Receive(most int, ds *[]Delivery) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	for id, m := range q.waiting {
		if len(*ds) == most {
			break
		}
		if !now.Before(m.visible) {
			m.visible = now.Add(invisible)
			*ds = append(*ds, Delivery{ID: id, Key: m.key})
		}
	}
	return nil
}

func (q *Queue) Ack(ids []int, _ *struct{}) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range ids {
		delete(q.waiting, id)
	}
	return nil
}

// Delays are messages to be delivered again.
type Delays map[int]time.Duration

func (q *Queue) Delay(delays Delays, _ *struct{}) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, d := range delays {
		if m := q.waiting[id]; m != nil {
			m.visible = time.Now().Add(d)
		}
	}
	return nil
}

func (q *Queue) Left(_ struct{}, n *int) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	*n = len(q.waiting)
	return nil
}

// newQueue serves a queue and returns where.
func newQueue(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := rpc.NewServer()
	if err := server.Register(&Queue{waiting: map[int]*queued{}}); err != nil {
		t.Fatal(err)
	}
	go server.Accept(l) // ends with the listener
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func call(t testing.TB, address, method string, arg, reply any) {
	t.Helper()
	c, err := rpc.Dial("tcp", address)
	if err == nil {
		defer c.Close()
		err = c.Call("Queue."+method, arg, reply)
	}
	if err != nil {
		t.Errorf("%s: %v", method, err)
	}
}

// configOf is the adapter of the queue, with a fault.
func configOf(f fault) adaptertest.Config {
	return adaptertest.Config{
		Name:     "queue " + string(f),
		NewTopic: newQueue,
		Produce: func(t testing.TB, address string, keys ...string) {
			call(t, address, "Send", keys, new(struct{}))
		},
		Consume: func(ctx context.Context, s adaptertest.Session) error { return f.consume(ctx, s) },
		Guard:   f.guard,
		Drained: func(address string) (bool, error) {
			c, err := rpc.Dial("tcp", address)
			if err != nil {
				return false, err
			}
			defer c.Close()
			var n int
			err = c.Call("Queue.Left", struct{}{}, &n)
			return n == 0, err
		},
		Patience: 20 * time.Second,
	}
}

func (f fault) guard(dir string, lease time.Duration) (dedup.Guard, func() error, error) {
	e, err := engine.Open(dir, engine.Options{
		Window: time.Hour, Lease: lease, Sync: engine.SyncNone, MinFreeDisk: -1, Capacity: 100_000, Shards: 4,
	})
	if err != nil {
		return nil, nil, err
	}
	return e, e.Close, nil
}

// A poller is one goroutine of a consumer.
type poller struct {
	fault    fault
	session  adaptertest.Session
	consumer *consume.Consumer
	client   *rpc.Client
}

// consume is the adapter: two goroutines that ask for messages, have them
// handled and do what was decided.
func (f fault) consume(ctx context.Context, s adaptertest.Session) error {
	client, err := rpc.Dial("tcp", s.Address)
	if err != nil {
		return err
	}
	defer client.Close()
	c, err := consume.New(f.around(s.Guard), consume.Options{
		Scope: consume.Scope{Application: "test"}, RetryMin: 20 * time.Millisecond, RetryMax: 200 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	var pollers sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		pollers.Go(func() {
			p := poller{fault: f, session: s, consumer: c, client: client}
			for errs[i] == nil && ctx.Err() == nil {
				errs[i] = p.poll(ctx)
			}
		})
	}
	if f == stopAbandons {
		<-ctx.Done()
		go pollers.Wait()
		return nil
	}
	pollers.Wait()
	return errors.Join(errs...)
}

func (p *poller) poll(ctx context.Context) error {
	var ds []Delivery
	if err := p.client.Call("Queue.Receive", 8, &ds); err != nil {
		return err
	}
	if len(ds) == 0 {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
		}
		return nil
	}
	msgs := make([]consume.Message, len(ds))
	var ids []int
	for i, d := range ds {
		msgs[i] = consume.Message{Topic: "queue", Value: d}
		if d.Key != "" {
			msgs[i].Key = []byte(d.Key)
		}
		ids = append(ids, d.ID)
	}
	if p.fault == ackFirst {
		if err := p.client.Call("Queue.Ack", ids, new(struct{})); err != nil {
			return err
		}
	}
	// The handlers that run when ctx ends are waited for.
	decisions := p.consumer.HandleBatch(context.WithoutCancel(ctx), msgs, func(ctx context.Context, m consume.Message) error {
		return p.session.Handle(ctx, m.Value.(Delivery).Key)
	})
	return p.tell(ds, decisions)
}

// tell has the queue do what was decided.
func (p *poller) tell(ds []Delivery, decisions []consume.Decision) error {
	var acks []int
	delays := Delays{}
	for i, d := range decisions {
		switch {
		case d.Action == consume.Ack, d.Action == consume.Reject && p.fault != poisonRetried, p.fault == retriesAcked:
			acks = append(acks, ds[i].ID)
		default:
			delays[ds[i].ID] = max(d.Delay, 10*time.Millisecond)
		}
	}
	if p.fault == badEndsBatch {
		for _, d := range ds {
			if d.Key == "" {
				acks, delays = nil, Delays{}
				for _, d := range ds {
					delays[d.ID] = 10 * time.Millisecond
				}
			}
		}
	}
	if err := p.client.Call("Queue.Ack", acks, new(struct{})); err != nil {
		return err
	}
	return p.client.Call("Queue.Delay", delays, new(struct{}))
}

// A fault is one way in which an adapter is wrong.
type fault string

const (
	sound          fault = ""
	ackFirst       fault = "acknowledged before the handler"
	retriesAcked   fault = "what should come again is acknowledged"
	notAsked       fault = "the guard is not asked"
	markFirst      fault = "marked before the handler"
	failureKept    fault = "a failed message's claim is not released"
	leaseNotKept   fault = "the lease is not extended"
	storeDownFresh fault = "without a store everything is fresh"
	stopAbandons   fault = "a stop leaves handlers behind"
	poisonRetried  fault = "a refused message comes again for ever"
	badEndsBatch   fault = "a message without a key has its batch delivered again and again"
	tokenForgotten fault = "claims are not committed"
)

// A faulty guard stands for what a wrong adapter does with a sound one.
type faulty struct {
	dedup.Guard
	fault fault
}

func (f fault) around(g dedup.Guard) dedup.Guard {
	if f == sound {
		return g
	}
	return faulty{g, f}
}

func (g faulty) ClaimBatch(ctx context.Context, cs []dedup.Claim, keys [][]byte) ([]dedup.Claim, error) {
	base := len(cs)
	cs, err := g.Guard.ClaimBatch(ctx, cs, keys)
	switch {
	case g.fault == notAsked, g.fault == storeDownFresh && err != nil && strings.Contains(fmt.Sprint(err), "store is down"):
		for i := range cs[base:] {
			cs[base+i].Verdict = dedup.Fresh
		}
		return cs, nil
	case g.fault == markFirst && err == nil:
		err = g.Guard.Commit(ctx, cs[base:]...)
	}
	return cs, err
}

func (g faulty) Commit(ctx context.Context, cs ...dedup.Claim) error {
	switch g.fault {
	case notAsked, markFirst, storeDownFresh:
		_ = g.Guard.Commit(ctx, cs...)
		return nil
	case tokenForgotten:
		return g.Guard.Release(ctx, cs...)
	}
	return g.Guard.Commit(ctx, cs...)
}

func (g faulty) Release(ctx context.Context, cs ...dedup.Claim) error {
	if g.fault == failureKept {
		return nil
	}
	return g.Guard.Release(ctx, cs...)
}

func (g faulty) Extend(ctx context.Context, c dedup.Claim, d time.Duration) (dedup.Claim, error) {
	if g.fault == leaseNotKept {
		c.Expires = time.Now().Add(time.Hour)
		return c, nil
	}
	return g.Guard.Extend(ctx, c, d)
}
