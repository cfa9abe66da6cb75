package engine

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash/hashtest"
)

// collidingKeys have equal XXH64 under every seed (see hashtest.Collide).
func collidingKeys(t testing.TB) (a, b []byte) {
	a, err := hex.DecodeString("6f726465722d30303030303030303031")
	if err != nil {
		t.Fatal(err)
	}
	if b, err = hex.DecodeString("8f6563cd7478b85030303030df7bbd47"); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// TestI3WholeKeyDecides: keys with one hash are several keys, one after the other
// and in one batch, claimed, unflushed, in runs and after a restart.
func TestI3WholeKeyDecides(t *testing.T) {
	a, b := collidingKeys(t)
	long := []byte("customer/00000001/invoice")
	pairs := map[string][2][]byte{"16 bytes": {a, b}, "variable": {long, hashtest.Collide(long)}}
	for name, p := range pairs {
		for _, untrusted := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/untrusted=%v", name, untrusted), func(t *testing.T) {
				dir, o := t.TempDir(), testOptions(nil)
				o.UntrustedKeys = untrusted
				e := mustOpen(t, dir, o)
				if name == "variable" && !untrusted {
					var digest [32]byte
					if x, y := e.hasher.Sum(p[0], &digest), e.hasher.Sum(p[1], &digest); x != y || bytes.Equal(p[0], p[1]) {
						t.Fatalf("hashes %x and %x: the test shows nothing", x, y)
					}
				}
				claims, err := e.ClaimBatch(ctx, nil, p[:])
				if err != nil || claims[0].Verdict != dedup.Fresh || claims[1].Verdict != dedup.Fresh {
					t.Fatalf("claims: %v, %v", claims, err)
				}
				if err := e.Release(ctx, claims[0]); err != nil {
					t.Fatal(err)
				}
				if got := mustAdmit(t, e, p[0], p[1], p[0]); fmt.Sprint(got) != "[fresh in-flight duplicate]" {
					t.Fatalf("with the second claimed: %v", got)
				}
				if err := e.Release(ctx, claims[1]); err != nil {
					t.Fatal(err)
				}
				mustContain(t, e, p[1], false)
				flushAll(t, e) // now one of them is in a run
				mustContain(t, e, p[0], true)
				mustContain(t, e, p[1], false)
				if got := mustAdmit(t, e, p[1], p[1], p[0]); fmt.Sprint(got) != "[fresh duplicate duplicate]" {
					t.Fatalf("with the first in a run: %v", got)
				}
				if err := e.Forget(ctx, p[0]); err != nil {
					t.Fatal(err)
				}
				mustClose(t, e)
				e = mustOpen(t, dir, o)
				if got := mustAdmit(t, e, p[1], p[0], p[1]); fmt.Sprint(got) != "[duplicate fresh duplicate]" {
					t.Fatalf("with the first forgotten, after a restart: %v", got)
				}
			})
		}
	}
}

// TestI3OneBatch: both colliding keys are Fresh in one batch and alone, whichever
// comes first.
func TestI3OneBatch(t *testing.T) {
	a, b := collidingKeys(t)
	e := mustOpen(t, t.TempDir(), testOptions(nil))
	if got := mustAdmit(t, e, a, b, b, a); fmt.Sprint(got) != "[fresh fresh duplicate duplicate]" {
		t.Errorf("in one batch: %v", got)
	}
	e = mustOpen(t, t.TempDir(), testOptions(nil))
	if x, y := mustAdmit(t, e, b)[0], mustAdmit(t, e, a)[0]; x != dedup.Fresh || y != dedup.Fresh {
		t.Errorf("one after the other: %v, %v", x, y)
	}
}

// TestI3Forms: the same 16 bytes raw, as UUID text and as upper-case text are
// three keys; long keys count as a whole.
func TestI3Forms(t *testing.T) {
	e := mustOpen(t, t.TempDir(), testOptions(nil))
	raw, _ := hex.DecodeString("f81d4fae7dec11d0a76500a0c91e6bf6")
	keys := [][]byte{raw, []byte("f81d4fae-7dec-11d0-a765-00a0c91e6bf6"), []byte("F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6"),
		bytes.Repeat([]byte("x"), 300), bytes.Repeat([]byte("x"), 301), append(bytes.Repeat([]byte("x"), 299), 'y')}
	admitAll(t, e, keys, dedup.Fresh)
	admitAll(t, e, keys, dedup.Duplicate)
	flushAll(t, e)
	admitAll(t, e, keys, dedup.Duplicate)
}

// TestI6TokenEndsClaim: a stale, forged or foreign token changes nothing and gets
// ErrLeaseLost; the rest of its call is done all the same.
func TestI6TokenEndsClaim(t *testing.T) {
	clock := newFakeClock()
	dir, o := t.TempDir(), testOptions(clock)
	e := mustOpen(t, dir, o)
	key, other := intKey(1), intKey(2)
	stale := mustClaim(t, e, key, dedup.Fresh)
	released := mustClaim(t, e, intKey(3), dedup.Fresh)
	committed := mustClaim(t, e, intKey(4), dedup.Fresh)
	if err := errors.Join(e.Release(ctx, released), e.Commit(ctx, committed)); err != nil {
		t.Fatal(err)
	}
	clock.advance(e.opts.Lease)
	owner := mustClaim(t, e, key, dedup.Fresh) // took over
	forged := owner
	forged.Token[15]++
	nobody := dedup.Claim{Key: key, Verdict: dedup.Fresh}
	far := owner
	far.Token[0], far.Token[3], far.Token[7] = 0xff, 0x7f, 0x7f
	bad := map[string]dedup.Claim{"stale": stale, "released": released, "committed": committed, "forged": forged, "zero": nobody, "far": far}
	check := func() {
		t.Helper()
		mustClaim(t, e, key, dedup.InFlight)
		mustContain(t, e, key, false)
		mustContain(t, e, intKey(3), false)
		mustContain(t, e, intKey(4), true)
	}
	for name, c := range bad {
		if err := e.Commit(ctx, c); !errors.Is(err, dedup.ErrLeaseLost) {
			t.Errorf("%s, commit: %v", name, err)
		}
		check()
		if err := e.Release(ctx, c); !errors.Is(err, dedup.ErrLeaseLost) {
			t.Errorf("%s, release: %v", name, err)
		}
		check()
		if _, err := e.Extend(ctx, c, time.Hour); !errors.Is(err, dedup.ErrLeaseLost) {
			t.Errorf("%s, extend: %v", name, err)
		}
		check()
	}
	good := mustClaim(t, e, other, dedup.Fresh)
	if err := e.Commit(ctx, stale, good, forged); !errors.Is(err, dedup.ErrLeaseLost) {
		t.Errorf("a commit with stale ones: %v", err)
	}
	mustContain(t, e, other, true)
	if got := e.Stats().Claims.Lost; got != uint64(3*len(bad)+2) {
		t.Errorf("%d ends are counted as lost, want %d", got, 3*len(bad)+2)
	}
	mustClose(t, e)
	e = mustOpen(t, dir, o)
	again := mustClaim(t, e, key, dedup.Fresh) // claims live in memory only
	if err := e.Commit(ctx, owner); !errors.Is(err, dedup.ErrLeaseLost) {
		t.Errorf("a claim of the engine before: %v", err)
	}
	mustClaim(t, e, key, dedup.InFlight)
	if err := e.Commit(ctx, again); err != nil {
		t.Error(err)
	}
}
