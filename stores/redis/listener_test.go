package redisstore

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/dedup"
)

// A javaConsumer sends the commands that RocketMQDedupListener was seen to send.
type javaConsumer struct {
	t testing.TB
	c *redis.Client
}

func (j javaConsumer) do(want any, args ...any) {
	j.t.Helper()
	got, err := j.c.Do(ctx, args...).Result()
	if errors.Is(err, redis.Nil) {
		got, err = nil, nil
	}
	if err != nil || got != want {
		j.t.Fatalf("%v answers %v (%v), want %v", args, got, err, want)
	}
}

func (j javaConsumer) claims(k string) {
	j.t.Helper()
	j.do("OK", "SET", k, "CONSUMING", "nx", "px", 60000)
}
func (j javaConsumer) meets(k, now string) { j.t.Helper(); j.claimsInVain(k); j.do(now, "GET", k) }
func (j javaConsumer) claimsInVain(k string) {
	j.t.Helper()
	j.do(nil, "SET", k, "CONSUMING", "nx", "px", 60000)
}
func (j javaConsumer) succeeds(k string) { j.t.Helper(); j.do("OK", "SETEX", k, 86400, "CONSUMED") }
func (j javaConsumer) fails(k string)    { j.t.Helper(); j.c.Do(ctx, "DEL", k) }

// withJava gives a Store, a Java consumer beside it, and a message's key and record.
func withJava(t *testing.T) (s *Store, j javaConsumer, key, record string) {
	t.Helper()
	client := shared(t)
	app := ownPrefix()
	s = open(t, client, Options{DedupListener: true, Window: 24 * time.Hour})
	key = string(ListenerKey(app, "orders", "T", "42"))
	return s, javaConsumer{t, client}, key, "MSGDEDUP:" + app + ":orders:T:42"
}

func TestListenerKey(t *testing.T) {
	for want, got := range map[string][]byte{
		"app:topic:tag:key": ListenerKey("app", "topic", "tag", "key"),
		"app:topic:key":     ListenerKey("app", "topic", "", "key"),
	} {
		if string(got) != want {
			t.Errorf("ListenerKey is %q, want %q", got, want)
		}
	}
}

// TestListenerMeetsJava: what Java wrote is honoured.
func TestListenerMeetsJava(t *testing.T) {
	s, java, key, record := withJava(t)
	java.claims(record)
	c := claim(t, s, key, dedup.InFlight)
	if left := time.Until(c.Expires); left < 50*time.Second || left > 61*time.Second {
		t.Errorf("Java's claim ends in %v", left)
	}
	java.fails(record)
	if err := s.Release(ctx, claim(t, s, key, dedup.Fresh)); err != nil {
		t.Fatal(err)
	}
	java.claims(record)
	java.succeeds(record)
	d := claim(t, s, key, dedup.Duplicate)
	if left := time.Until(d.Expires); left < 86390*time.Second || left > 86400*time.Second {
		t.Errorf("Java's mark is said to be kept for %v", left)
	}
	if is, err := s.Contains(ctx, []byte(key)); err != nil || !is {
		t.Errorf("Contains of Java's mark: %v, %v", is, err)
	}
}

// TestListenerIsMetByJava: Java understands what we write, with its times.
func TestListenerIsMetByJava(t *testing.T) {
	s, java, key, record := withJava(t)
	c := claim(t, s, key, dedup.Fresh)
	java.meets(record, "CONSUMING")
	if left := java.c.PTTL(ctx, record).Val(); left < 50*time.Second || left > 61*time.Second {
		t.Errorf("a claim ends for Java in %v", left)
	}
	if err := s.Release(ctx, c); err != nil {
		t.Fatal(err)
	}
	java.claims(record)
	java.fails(record)
	mark(t, s, key)
	java.meets(record, "CONSUMED")
	if left := java.c.PTTL(ctx, record).Val(); left < 86390*time.Second || left > 86401*time.Second {
		t.Errorf("a mark is kept for Java for %v", left)
	}
	if n := java.c.Exists(ctx, "firstseen:owner:"+record).Val(); n != 0 {
		t.Error("the owner's key outlives its claim")
	}
}

// TestListenerJavaComesLate: it compares no owner, so its late failure deletes our
// record and its late success marks our claim.
func TestListenerJavaComesLate(t *testing.T) {
	s, java, key, record := withJava(t)
	c := claim(t, s, key, dedup.Fresh)
	java.fails(record)
	if err := s.Commit(ctx, c); err != nil {
		t.Fatalf("Commit of a claim whose record Java deleted: %v", err)
	}
	java.meets(record, "CONSUMED")

	java.fails(record)
	c = claim(t, s, key, dedup.Fresh)
	java.succeeds(record)
	if err := s.Commit(ctx, c); !errors.Is(err, dedup.ErrLeaseLost) {
		t.Fatalf("Commit of a claim that Java marked gives the error %v", err)
	}
	java.meets(record, "CONSUMED")

	java.fails(record)
	c = claim(t, s, key, dedup.Fresh)
	java.succeeds(record)
	if err := s.Release(ctx, c); !errors.Is(err, dedup.ErrLeaseLost) {
		t.Fatalf("Release of a claim that Java marked gives the error %v", err)
	}
	java.meets(record, "CONSUMED")
}

// TestListenerJavaTakesOver: a key that Java claimed after our lease is Java's.
func TestListenerJavaTakesOver(t *testing.T) {
	s, java, key, record := withJava(t)
	for what, end := range map[string]func(dedup.Claim) error{
		"Commit":  func(c dedup.Claim) error { return s.Commit(ctx, c) },
		"Release": func(c dedup.Claim) error { return s.Release(ctx, c) },
		"Extend":  func(c dedup.Claim) error { _, err := s.Extend(ctx, c, time.Minute); return err },
	} {
		c, err := s.Extend(ctx, claim(t, s, key, dedup.Fresh), time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the lease ends", func() bool { return java.c.Exists(ctx, record).Val() == 0 })
		java.claims(record)
		if err := end(c); !errors.Is(err, dedup.ErrLeaseLost) {
			t.Errorf("%s of a claim that Java took over gives the error %v", what, err)
		}
		java.meets(record, "CONSUMING")
		java.fails(record)
	}
}

// TestListenerKeepsNoResult: there is no room for one that Java would not trip over.
func TestListenerKeepsNoResult(t *testing.T) {
	s, java, key, record := withJava(t)
	c := claim(t, s, key, dedup.Fresh)
	c.Result = []byte("answer")
	if err := s.Commit(ctx, c); !errors.Is(err, dedup.ErrResultTooLarge) {
		t.Fatalf("Commit with a result gives the error %v", err)
	}
	java.meets(record, "CONSUMED")
	claim(t, s, key, dedup.Duplicate)
}
