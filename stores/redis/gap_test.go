package redisstore

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/servertest"
)

// claim asks for a key that must be answered with want.
func claim(t testing.TB, g dedup.Guard, key string, want dedup.Verdict) dedup.Claim {
	t.Helper()
	c, err := g.Claim(ctx, []byte(key))
	if err != nil || c.Verdict != want {
		t.Fatalf("Claim(%q) is %v (%v), want %v", key, c.Verdict, err, want)
	}
	return c
}

func mark(t testing.TB, g dedup.Guard, key string) {
	t.Helper()
	if err := g.Commit(ctx, claim(t, g, key, dedup.Fresh)); err != nil {
		t.Fatal(err)
	}
}

// wantGap wants a claim to be refused for a gap whose detail says so.
func wantGap(t testing.TB, s *Store, key, detail string) {
	t.Helper()
	c, err := s.Claim(ctx, []byte(key))
	gap, ok := errors.AsType[*GapError](err)
	if !ok || !errors.Is(err, ErrGap) || !strings.Contains(gap.Detail, detail) {
		t.Fatalf("Claim(%q) gives the error %v, want a gap that tells of %q", key, err, detail)
	}
	if c.Verdict != dedup.Unknown || c.Token != (dedup.Token{}) {
		t.Fatalf("Claim(%q) over a gap is %v with the token %v", key, c.Verdict, c.Token)
	}
}

// wantGaps wants exactly so many to have been reported.
func wantGaps(t testing.TB, s *Store, n uint64) {
	t.Helper()
	if got := s.Stats().Gaps; got != n {
		t.Fatalf("%d gaps were reported, want %d", got, n)
	}
}

// TestGapRestart: a server that comes back empty.
func TestGapRestart(t *testing.T) {
	server := servertest.Start(t, servertest.Redis)
	client := clientOf(t, server)
	s := open(t, client, Options{})
	mark(t, s, "marked")
	held := claim(t, s, "held", dedup.Fresh)
	server.Kill()
	server.Restart()

	wantGap(t, s, "marked", "failover, restart")
	wantGap(t, s, "another", "failover, restart")
	wantGaps(t, s, 1)
	if _, err := s.Contains(ctx, []byte("marked")); !errors.Is(err, ErrGap) {
		t.Errorf("Contains over a gap gives the error %v", err)
	}
	if err := s.Ping(ctx); !errors.Is(err, ErrGap) {
		t.Errorf("Ping over a gap gives the error %v", err)
	}
	if err := s.Commit(ctx, held); !errors.Is(err, dedup.ErrLeaseLost) {
		t.Errorf("Commit of a claim that the server lost gives the error %v", err)
	}
	// Nobody holds what was claimed when the gap showed.
	claim(t, open(t, client, Options{Prefix: s.opts.Prefix}), "marked", dedup.Fresh)

	s.AcceptGap()
	mark(t, s, "another")
	claim(t, s, "another", dedup.Duplicate)
	wantGaps(t, s, 1)
}

// TestNoGapWithPersistence: kill -9 takes nothing from a server that syncs its log
// before it answers. With everysec it may: a write that meets a sync is put off for up
// to two seconds, and is answered all the same.
func TestNoGapWithPersistence(t *testing.T) {
	server := servertest.Start(t, servertest.Redis, "--appendonly", "yes", "--appendfsync", "always")
	s := open(t, clientOf(t, server), Options{})
	mark(t, s, "marked")
	held := claim(t, s, "held", dedup.Fresh)
	server.Kill()
	server.Restart()
	claim(t, s, "marked", dedup.Duplicate)
	if err := s.Commit(ctx, held); err != nil {
		t.Error(err)
	}
	wantGaps(t, s, 0)
}

func TestGapReport(t *testing.T) {
	client := clientOf(t, servertest.Start(t, servertest.Redis))
	s := open(t, client, Options{OnGap: Report})
	mark(t, s, "marked")
	for n := range uint64(3) {
		if err := client.FlushAll(ctx).Err(); err != nil {
			t.Fatal(err)
		}
		mark(t, s, "marked")
		claim(t, s, "marked", dedup.Duplicate)
		wantGaps(t, s, n+1)
	}
}

// TestGapAfterCommit: a commit that reaches a server without its claim says so, and
// the next claim is refused.
func TestGapAfterCommit(t *testing.T) {
	client := clientOf(t, servertest.Start(t, servertest.Redis))
	s := open(t, client, Options{})
	held := claim(t, s, "held", dedup.Fresh)
	client.FlushAll(ctx)
	if err := s.Commit(ctx, held); !errors.Is(err, dedup.ErrLeaseLost) {
		t.Fatalf("Commit gives the error %v, want the lease to be lost", err)
	}
	wantGap(t, s, "held", "")
}

// TestGapFailover: a replica that lacks the last writes becomes the master.
func TestGapFailover(t *testing.T) {
	master, replica := servertest.Start(t, servertest.Redis), servertest.Start(t, servertest.Redis)
	link := newProxy(t, master.Env("REDIS_ADDR"))
	service := newProxy(t, master.Env("REDIS_ADDR"))
	follower := clientOf(t, replica)
	host, port, _ := strings.Cut(link.addr(), ":")
	if err := follower.Do(ctx, "replicaof", host, port).Err(); err != nil {
		t.Fatal(err)
	}
	s := open(t, clientAt(t, service.addr()), Options{})
	mark(t, s, "old")
	eventually(t, "the replica has the mark", func() bool {
		return follower.Exists(ctx, string(s.lay.name(nil, s.lay.bucket([]byte("old")), []byte("old")))).Val() == 1
	})
	link.close() // replication stands still
	mark(t, s, "new")
	master.Kill()
	if err := follower.Do(ctx, "replicaof", "no", "one").Err(); err != nil {
		t.Fatal(err)
	}
	service.turnTo(replica.Env("REDIS_ADDR"))

	wantGap(t, s, "new", "failover")
	s.AcceptGap()
	claim(t, s, "old", dedup.Duplicate)
	claim(t, s, "new", dedup.Fresh) // it was lost indeed
	wantGaps(t, s, 1)
}

// TestEvictions: a server that evicts is refused, or its evictions are a gap.
func TestEvictions(t *testing.T) {
	client := clientOf(t, servertest.Start(t, servertest.Redis, "--maxmemory", "3mb", "--maxmemory-policy", "allkeys-random"))
	o := Options{Window: time.Hour}
	if _, err := New(client, o); !errors.Is(err, dedup.ErrUnsupported) || !strings.Contains(err.Error(), "allkeys-random") {
		t.Fatalf("New gives the error %v, want one that names the policy", err)
	}
	o.AllowEviction = true
	s := open(t, client, o)
	if err := s.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	wantGaps(t, s, 0)
	for i := 0; client.Info(ctx, "stats").Val() != "" && i < 200; i++ {
		client.Set(ctx, fmt.Sprint("ballast", i), strings.Repeat("x", 64<<10), 0)
	}
	if err := s.Ping(ctx); !errors.Is(err, ErrGap) {
		t.Fatalf("Ping after evictions gives the error %v", err)
	}
	if s.Stats().Evicted == 0 || s.Stats().Gaps == 0 {
		t.Errorf("after evictions the Stats are %+v", s.Stats())
	}
}

// TestEvictionsAreChecked: beside the calls, without Ping.
func TestEvictionsAreChecked(t *testing.T) {
	client := clientOf(t, servertest.Start(t, servertest.Redis, "--maxmemory", "3mb", "--maxmemory-policy", "volatile-ttl"))
	s := open(t, client, Options{AllowEviction: true, CheckEvery: time.Millisecond, OnGap: Report})
	for i := range 200 {
		client.Set(ctx, fmt.Sprint("ballast", i), strings.Repeat("x", 64<<10), time.Minute)
	}
	eventually(t, "claims notice the evictions", func() bool {
		_, _ = s.Claim(ctx, []byte("k"))
		return s.Stats().Evicted > 0
	})
}

// TestWatch: answers that overlap prove nothing, and a counter may end with its life.
func TestWatch(t *testing.T) {
	var w watch
	w.init(1, time.Hour, true)
	now := time.Now()
	answer := func(at time.Time, n int64) func() *GapError {
		c := []*call{{counter: n}}
		w.before(c, at)
		return func() *GapError { return w.after(c) }
	}
	want := func(name string, gap *GapError, is bool) {
		t.Helper()
		if (gap != nil) != is {
			t.Errorf("%s: the gap is %v", name, gap)
		}
	}
	want("the first", answer(now, 7)(), false)
	b, a := answer(now, 8), answer(now, 9)
	want("a later call's answer", a(), false)
	want("an earlier one's after it", b(), false)
	stale, other := answer(now, 9), answer(now, 3)
	want("equal to what was acknowledged", stale(), true)
	want("the same loss again", other(), false)
	want("after the loss", answer(now, 1)(), false)
	want("after the loss", answer(now, 2)(), false)
	late := answer(now, 1000)
	want("another loss", answer(now, 2)(), true)
	want("an answer from before the loss", late(), false)
	want("is not expected afterwards", answer(now, 3)(), false)
	want("a counter that ended", answer(now.Add(2*time.Hour), 1)(), false)
	want("and counts again", answer(now.Add(2*time.Hour), 1)(), true)
}

func clientAt(t testing.TB, addr string) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{Addr: addr, DialerRetries: 1})
	t.Cleanup(func() { c.Close() })
	return c
}

// eventually polls for what another process does.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not after 30 s: %s", what)
		}
	}
}
