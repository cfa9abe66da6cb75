package redisstore

import (
	"strings"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/servertest"
)

// The holes of RocketMQDedupListener that guardtest leaves to a store. Hole10, message
// ids that change at every send-back, is the adapters': a Store takes any key. Hole13,
// lost records, has gap_test.go, cluster_test.go and sentinel_test.go beside guardtest.

// TestHole08JoinedParts: (tag "", key "T1:42") and (tag "T1", key "42") are one record
// only where Java's layout demands it; a Store's own keys are bytes and stay apart.
func TestHole08JoinedParts(t *testing.T) {
	s := open(t, shared(t), Options{})
	for _, key := range []string{"\x00\x05T1:42", "\x02T1\x0242", "T1:42", "T142", "{0}:T1:42", "}:T1:42"} {
		mark(t, s, key)
	}
	a, b := ListenerKey("app", "topic", "", "T1:42"), ListenerKey("app", "topic", "T1", "42")
	if string(a) != string(b) {
		t.Errorf("ListenerKey gives %q and %q; its documentation says that they are one", a, b)
	}
}

// TestHole09NothingPurges: every record and every counter expires by itself; the
// layout of a prefix alone stays.
func TestHole09NothingPurges(t *testing.T) {
	client := clientOf(t, servertest.Start(t, servertest.Redis))
	for _, o := range []Options{{Window: 20 * time.Minute}, {Window: 20 * time.Minute, DedupListener: true}} {
		s := open(t, client, o)
		mark(t, s, "marked")
		withResult := claim(t, s, "with a result", dedup.Fresh)
		withResult.Result = []byte("r")
		_ = s.Commit(ctx, withResult)
		claim(t, s, "held", dedup.Fresh)
		if _, err := s.Extend(ctx, claim(t, s, "extended", dedup.Fresh), 5*time.Minute); err != nil {
			t.Fatal(err)
		}
		for _, name := range client.Keys(ctx, "*").Val() {
			left := client.PTTL(ctx, name).Val()
			if strings.HasSuffix(name, "{layout}") {
				continue
			}
			if left <= 0 || left > 25*time.Minute {
				t.Errorf("%q lives for %v", name, left)
			}
		}
	}
}

// TestHole11Broadcasting: consumers that each handle every message have a Prefix each.
func TestHole11Broadcasting(t *testing.T) {
	client := shared(t)
	for range 2 {
		s := open(t, client, Options{Prefix: ownPrefix()})
		mark(t, s, "k")
		claim(t, s, "k", dedup.Duplicate)
	}
}
