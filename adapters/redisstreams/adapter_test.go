package redisstreams_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/adapters/redisstreams"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/internal/testguards"
)

func TestNewNamesEveryProblem(t *testing.T) {
	_, err := redisstreams.New(nil, nil, redisstreams.Options{
		MaxAttempts: -1, Batch: -1, RetryAfter: -1, MinIdle: -1, Poll: -1, DeadLetters: "dead",
		OnReject: func(context.Context, redis.XMessage, error) error { return nil },
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"Application", "Stream", "Group", "Consumer", "KeyField", "MaxAttempts", "Batch", "RetryAfter", "MinIdle", "Poll", "DeadLetters",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
}

// A bed is a stream with an adapter that consumes it.
type bed struct {
	*testing.T
	address, stream string
	db              *redis.Client
	a               *redisstreams.Adapter
}

// newBed makes one whose options change may change.
func newBed(t *testing.T, g dedup.Guard, change func(o *redisstreams.Options)) *bed {
	t.Helper()
	b := &bed{T: t, address: newStream(t)}
	addr, stream, _ := strings.Cut(b.address, " ")
	b.db, b.stream = connect(t, addr), stream
	o := options(stream)
	change(&o)
	a, err := redisstreams.New(g, b.db, o)
	if err != nil {
		t.Fatal(err)
	}
	b.a = a
	return b
}

// run consumes until done is true.
func (b *bed) run(h redisstreams.Handler, done func() bool) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.a.Run(ctx, h) }() // ends with ctx
	b.until(done)
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

func (b *bed) until(done func() bool) {
	b.Helper()
	for giveUp := time.Now().Add(time.Minute); !done(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(giveUp) {
			b.Fatal("waited a minute in vain")
		}
	}
}

func (b *bed) drained() bool {
	ok, err := drained(b.address)
	if err != nil {
		b.Fatal(err)
	}
	return ok
}

// pending returns the one entry that is pending.
func (b *bed) pending() redis.XPendingExt {
	b.Helper()
	all, err := b.db.XPendingExt(b.Context(), &redis.XPendingExtArgs{Stream: b.stream, Group: group, Start: "-", End: "+", Count: 10}).Result()
	if err != nil || len(all) != 1 {
		b.Fatalf("pending: %v, %v", all, err)
	}
	return all[0]
}

// TestRefused: a message is put away by ErrReject at once, and after MaxAttempts
// failures else.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want int64
	}{"ErrReject": {consume.ErrReject, 1}, "MaxAttempts": {errors.New("never"), 3}} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t, testguards.Engine(t), func(o *redisstreams.Options) { o.MaxAttempts, o.DeadLetters = 3, o.Stream+".dead" })
			produce(t, b.address, "poison")
			var begun atomic.Int64
			b.run(func(context.Context, redis.XMessage) error { begun.Add(1); return c.err }, b.drained)
			dead, err := b.db.XRange(t.Context(), b.stream+".dead", "-", "+").Result()
			if err != nil || len(dead) != 1 {
				t.Fatalf("dead letters: %v, %v", dead, err)
			}
			v := dead[0].Values
			if v[keyField] != "poison" || v["body"] != "of poison" || v[redisstreams.FieldStream] != b.stream || v[redisstreams.FieldReason] != "failed" ||
				!strings.Contains(v[redisstreams.FieldError].(string), c.err.Error()) {
				t.Errorf("dead letter %v", v)
			}
			if n := begun.Load(); n != c.want {
				t.Errorf("the handler began %d times, want %d", n, c.want)
			}
		})
	}
}

// TestOnReject: a refused message is delivered again only where OnReject fails.
func TestOnReject(t *testing.T) {
	var told atomic.Int64
	b := newBed(t, testguards.Engine(t), func(o *redisstreams.Options) {
		o.OnReject = func(_ context.Context, _ redis.XMessage, why error) error {
			if !errors.Is(why, consume.ErrReject) {
				t.Errorf("told %v", why)
			}
			if told.Add(1) == 1 {
				return errors.New("the dead letters are full")
			}
			return nil
		}
	})
	produce(t, b.address, "poison")
	b.run(func(context.Context, redis.XMessage) error { return consume.ErrReject }, b.drained)
	if n := told.Load(); n != 2 {
		t.Errorf("told %d times, want 2", n)
	}
}

// TestKillsItsConsumers: a message whose consumers die ends as one that fails does,
// and one that was handled before its consumer died is no such message.
func TestKillsItsConsumers(t *testing.T) {
	g := testguards.Engine(t)
	b := newBed(t, g, func(o *redisstreams.Options) { o.MaxAttempts, o.DeadLetters = 3, o.Stream+".dead" })
	scope := consume.Scope{Application: "test", Topic: b.stream}
	handled, err := g.Claim(t.Context(), consume.JoinedKey(nil, scope, []byte("handled")))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Commit(t.Context(), handled); err != nil {
		t.Fatal(err)
	}
	produce(t, b.address, "deadly", "handled")
	read := redis.XReadGroupArgs{Group: group, Consumer: "dead", Streams: []string{b.stream, ">"}, Count: 2}
	if err := b.db.XReadGroup(t.Context(), &read).Err(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // each in the hands of one more that dies
		claim := redis.XAutoClaimArgs{Stream: b.stream, Group: group, Consumer: "dead", Start: "0-0", Count: 2}
		if msgs, _, err := b.db.XAutoClaim(t.Context(), &claim).Result(); err != nil || len(msgs) != 2 {
			t.Fatal(msgs, err)
		}
	}
	b.run(func(_ context.Context, m redis.XMessage) error { t.Errorf("handled %v", m.Values); return nil }, b.drained)
	dead, err := b.db.XRange(t.Context(), b.stream+".dead", "-", "+").Result()
	if err != nil || len(dead) != 1 || dead[0].Values[keyField] != "deadly" {
		t.Errorf("dead letters: %v, %v", dead, err)
	}
}

// TestInFlightIsNoAttempt: a message that meets its twin in flight, many times more
// often than it has attempts, is handled when the twin has failed.
func TestInFlightIsNoAttempt(t *testing.T) {
	g := testguards.Engine(t)
	b := newBed(t, g, func(o *redisstreams.Options) {
		o.MaxAttempts, o.DeadLetters, o.MinIdle, o.Poll = 2, o.Stream+".dead", 20*time.Millisecond, 10*time.Millisecond
	})
	held, err := g.Claim(t.Context(), consume.JoinedKey(nil, consume.Scope{Application: "test", Topic: b.stream}, []byte("k")))
	if err != nil || held.Verdict != dedup.Fresh {
		t.Fatal(held.Verdict, err)
	}
	produce(t, b.address, "k")
	busy := func() uint64 {
		for _, c := range b.a.Consumer().Snapshot() {
			return c.InFlight
		}
		return 0
	}
	var effects atomic.Int64
	h := func(context.Context, redis.XMessage) error { effects.Add(1); return nil }
	b.run(h, func() bool { return busy() >= 6 })
	if err := g.Release(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	b.run(h, b.drained)
	if n := effects.Load(); n != 1 {
		t.Errorf("%d effects, want 1", n)
	}
}

// TestDelayIsKeptInRedis: how long a failed message waits does not end with its
// consumer, and what was given back by one that stopped waits for nothing.
func TestDelayIsKeptInRedis(t *testing.T) {
	const minIdle = time.Hour
	b := newBed(t, testguards.Engine(t), func(o *redisstreams.Options) { o.MinIdle, o.RetryAfter = minIdle, 10*time.Minute })
	produce(t, b.address, "k")
	var begun atomic.Int64
	b.run(func(context.Context, redis.XMessage) error { begun.Add(1); return errors.New("not this time") }, func() bool { return begun.Load() > 0 })
	p := b.pending()
	if least := minIdle - 10*time.Minute; p.Idle < least || p.Idle > least+time.Minute || p.RetryCount != 1 {
		t.Errorf("idle for %v after %d deliveries, want %v and 1", p.Idle, p.RetryCount, least)
	}

	stopped, stop := context.WithCancel(t.Context())
	stop()
	m := redis.XMessage{ID: p.ID, Values: map[string]any{keyField: "k"}, DeliveredCount: 1}
	if err := b.a.Process(stopped, nil, m); err != nil {
		t.Fatal(err)
	}
	if p := b.pending(); p.Idle < minIdle || p.RetryCount != 0 {
		t.Errorf("given back: idle for %v after %d deliveries, want %v and 0", p.Idle, p.RetryCount, minIdle)
	}
}

// TestLongHandler: messages whose batch takes longer than MinIdle go to nobody else.
func TestLongHandler(t *testing.T) {
	const minIdle = 300 * time.Millisecond
	g := testguards.Engine(t)
	b := newBed(t, g, func(o *redisstreams.Options) { o.MinIdle = minIdle })
	o := options(b.stream)
	o.MinIdle = minIdle
	second, err := redisstreams.New(g, b.db, o)
	if err != nil {
		t.Fatal(err)
	}
	produce(t, b.address, "long", "behind")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var effects atomic.Int64
	b.run(func(context.Context, redis.XMessage) error {
		if effects.Add(1) == 1 { // from now on another one is there
			go func() {
				ended <- second.Run(ctx, func(context.Context, redis.XMessage) error { effects.Add(1); return nil })
			}()
		}
		<-time.After(4 * minIdle)
		return nil
	}, b.drained)
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if n, met := effects.Load(), len(second.Consumer().Snapshot()); n != 2 || met > 0 {
		t.Errorf("%d effects, %d scopes of the other consumer, want 2 and 0", n, met)
	}
}

// TestConnectionLost: the connection goes while a handler works. The message comes
// again and is a duplicate.
func TestConnectionLost(t *testing.T) {
	b := newBed(t, testguards.Engine(t), func(*redisstreams.Options) {})
	addr, _, _ := strings.Cut(b.address, " ")
	proxy := servertest.NewProxy(t, addr)
	through := redis.NewClient(&redis.Options{Addr: proxy.Addr(), MaxRetries: -1, DialTimeout: time.Second})
	t.Cleanup(func() { _ = through.Close() })
	g := testguards.Engine(t)
	a, err := redisstreams.New(g, through, options(b.stream))
	if err != nil {
		t.Fatal(err)
	}
	b.a = a
	produce(t, b.address, "k")
	var effects atomic.Int64
	b.run(func(context.Context, redis.XMessage) error {
		proxy.Lead("127.0.0.1:1") // nobody answers there
		effects.Add(1)
		return nil
	}, func() bool { return effects.Load() > 0 })
	if n := b.pending().RetryCount; n != 1 {
		t.Errorf("%d deliveries, want 1", n)
	}
	proxy.Lead(addr)
	b.run(func(context.Context, redis.XMessage) error { effects.Add(1); return nil }, b.drained)
	if n := effects.Load(); n != 1 {
		t.Errorf("%d effects, want 1", n)
	}
}

// TestNoGroup: what does not mend itself ends Run.
func TestNoGroup(t *testing.T) {
	b := newBed(t, testguards.Engine(t), func(o *redisstreams.Options) { o.Group = "nobody" })
	if err := b.a.Run(t.Context(), nil); !redis.HasErrorPrefix(err, "NOGROUP") {
		t.Errorf("Run without a group: %v", err)
	}
	_ = b.db.Close()
	if err := b.a.Run(t.Context(), nil); !errors.Is(err, redis.ErrClosed) {
		t.Errorf("Run with a closed client: %v", err)
	}
}
