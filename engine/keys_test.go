package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/shards"
)

func sized(n int, c byte) []byte { return bytes.Repeat([]byte{c}, n) }

// TestKeyLengths: keys of every form from one byte to the longest, each a key of
// its own, through memory, runs and a restart.
func TestKeyLengths(t *testing.T) {
	dir, o := t.TempDir(), testOptions(nil)
	e := mustOpen(t, dir, o)
	var keys [][]byte
	for _, n := range []int{1, 2, 15, 16, 17, 26, 36, 37, 254, 255, 256, 1000, 65535} {
		keys = append(keys, sized(n, 'a'), sized(n, 'b'), sized(n, 0), sized(n, 0xff))
	}
	for i := range 256 {
		keys = append(keys, []byte{byte(i), 'x'})
	}
	keys = append(keys, []byte("f81d4fae-7dec-11d0-a765-00a0c91e6bf6"), []byte("01ARZ3NDEKTSV4RRFFQ69G5FAV"))
	admitAll(t, e, keys, dedup.Fresh)
	admitAll(t, e, keys, dedup.Duplicate)
	for _, key := range keys[:52] {
		mustContain(t, e, key, true)
	}
	mustContain(t, e, sized(65534, 'a'), false)
	e.crash(t)
	e = mustOpen(t, dir, o) // from the journal
	admitAll(t, e, keys, dedup.Duplicate)
	flushAll(t, e)
	admitAll(t, e, keys, dedup.Duplicate) // from runs
	mustClose(t, e)
	e = mustOpen(t, dir, o)
	admitAll(t, e, keys, dedup.Duplicate)
}

// TestInvalidKeys: empty and oversize keys get Unknown and are named; the rest of
// their batch is answered, at whatever place of however long a batch.
func TestInvalidKeys(t *testing.T) {
	for _, n := range []int{4, shards.MaxPiece, 2*shards.MaxPiece + 100} {
		t.Run(fmt.Sprintf("batch=%d", n), func(t *testing.T) {
			e := mustOpen(t, t.TempDir(), testOptions(nil))
			keys := intKeys(0, n)
			bad := map[int]int{1: 0, n/2 + 1: 65536, n - 1: 0}
			for i, size := range bad {
				keys[i] = sized(size, 'z')
			}
			check := func(what string, verdicts []dedup.Verdict, err error, want dedup.Verdict) {
				t.Helper()
				checkInvalid(t, what, err, bad)
				for i, v := range verdicts {
					switch _, isBad := bad[i]; {
					case isBad && v != dedup.Unknown, !isBad && v != want:
						t.Fatalf("%s: key %d of %d bytes: %v", what, i, len(keys[i]), v)
					}
				}
			}
			cs, err := e.ClaimBatch(ctx, nil, keys)
			check("claim", verdictsOf(cs), err, dedup.Fresh)
			for i, c := range cs {
				if c.Verdict == dedup.Fresh && !bytes.Equal(c.Key, keys[i]) {
					t.Fatalf("claim %d has the key %q, want %q", i, c.Key, keys[i])
				}
			}
			if err := e.Release(ctx, cs...); err != nil {
				t.Fatal(err)
			}
			vs, err := e.AdmitBatch(ctx, nil, keys)
			check("admit", vs, err, dedup.Fresh)
			vs, err = e.AdmitBatch(ctx, vs[:0], keys)
			check("admit again", vs, err, dedup.Duplicate)
			if got, want := e.Stats().Verdicts.Invalid, uint64(3*len(bad)); got != want {
				t.Errorf("%d invalid keys are counted, want %d", got, want)
			}
		})
	}
}

func verdictsOf(cs []dedup.Claim) (vs []dedup.Verdict) {
	for _, c := range cs {
		vs = append(vs, c.Verdict)
	}
	return vs
}

// checkInvalid wants one KeyError for each bad key and nothing else.
func checkInvalid(t *testing.T, what string, err error, bad map[int]int) {
	t.Helper()
	if !errors.Is(err, dedup.ErrKeyInvalid) {
		t.Fatalf("%s: %v", what, err)
	}
	named := map[int]int{}
	var walk func(err error)
	walk = func(err error) {
		if k, ok := err.(*dedup.KeyError); ok { //nolint:errorlint // each of the joined ones
			named[k.Index] = k.Len
			return
		}
		switch x := err.(type) { //nolint:errorlint
		case interface{ Unwrap() []error }:
			for _, one := range x.Unwrap() {
				walk(one)
			}
		case interface{ Unwrap() error }:
			walk(x.Unwrap())
		}
	}
	walk(err)
	if fmt.Sprint(named) != fmt.Sprint(bad) {
		t.Errorf("%s: the error names %v, want %v", what, named, bad)
	}
}

func TestInvalidKeyAlone(t *testing.T) {
	e := mustOpen(t, t.TempDir(), testOptions(nil))
	for _, key := range [][]byte{nil, {}, sized(65536, 'z'), sized(1<<20, 'z')} {
		v, err := e.Admit(ctx, key)
		errs := map[string]error{"admit": err}
		if v != dedup.Unknown {
			t.Errorf("admit: %v", v)
		}
		c, err := e.Claim(ctx, key)
		if errs["claim"] = err; c.Verdict != dedup.Unknown {
			t.Errorf("claim: %v", c.Verdict)
		}
		_, errs["contains"] = e.Contains(ctx, key)
		errs["forget"] = e.Forget(ctx, key)
		for name, err := range errs {
			checkInvalid(t, name, err, map[int]int{0: len(key)})
		}
	}
}

// TestEmptyCalls: nothing asked, nothing answered, no error.
func TestEmptyCalls(t *testing.T) {
	e := mustOpen(t, t.TempDir(), testOptions(nil))
	if vs, err := e.AdmitBatch(ctx, nil, nil); len(vs) != 0 || err != nil {
		t.Errorf("admit: %v, %v", vs, err)
	}
	if cs, err := e.ClaimBatch(ctx, nil, nil); len(cs) != 0 || err != nil {
		t.Errorf("claim: %v, %v", cs, err)
	}
	if err := errors.Join(e.Commit(ctx), e.Release(ctx)); err != nil {
		t.Errorf("%v", err)
	}
	c := dedup.Claim{Verdict: dedup.Duplicate}
	if err := errors.Join(e.Commit(ctx, c), e.Release(ctx, c)); err != nil {
		t.Errorf("claims that hold nothing: %v", err)
	}
}

// TestAppendStyle: answers come behind what is in the slice, and the caller's
// memory is used as long as it suffices.
func TestAppendStyle(t *testing.T) {
	e := mustOpen(t, t.TempDir(), testOptions(nil))
	vs := make([]dedup.Verdict, 2, 16)
	vs[0], vs[1] = dedup.InFlight, dedup.Duplicate
	dirty := vs[:16]
	for i := 2; i < 16; i++ {
		dirty[i] = dedup.Duplicate
	}
	got, err := e.AdmitBatch(ctx, vs, [][]byte{intKey(1), nil, intKey(1)})
	if fmt.Sprint(got) != "[in-flight duplicate fresh unknown duplicate]" || !errors.Is(err, dedup.ErrKeyInvalid) || &got[0] != &vs[0] {
		t.Errorf("%v, %v", got, err)
	}
	var keys [][]byte
	for i := range 50 {
		keys = append(keys, intKey(100+i))
	}
	if got, err = e.AdmitBatch(ctx, vs, keys); len(got) != 52 || err != nil || got[1] != dedup.Duplicate || got[51] != dedup.Fresh {
		t.Errorf("%v, %v", got, err)
	}
	// The engine copies what it keeps.
	key := []byte("will be overwritten")
	mustAdmit(t, e, key)
	claimed := []byte("this one too")
	c := mustClaim(t, e, claimed, dedup.Fresh)
	copy(key, "XXXXXXXXXXXXXXXXXXX")
	copy(claimed, "XXXXXXXXXXXX")
	if err := e.Commit(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	mustContain(t, e, []byte("will be overwritten"), true)
	mustContain(t, e, []byte("this one too"), true)
	mustContain(t, e, key, false)
}

// TestForget: a forgotten key is fresh again, wherever its mark lies, and stays
// forgotten over a restart and a crash.
func TestForget(t *testing.T) {
	dir, o := t.TempDir(), testOptions(nil)
	e := mustOpen(t, dir, o)
	for i, prepare := range []func(key []byte){
		func(key []byte) { mustAdmit(t, e, key) },
		func(key []byte) { mustAdmit(t, e, key); flushAll(t, e) },
		func([]byte) {}, // was never marked
	} {
		for _, key := range [][]byte{intKey(i), fmt.Appendf(nil, "key %d", i), append(sized(300, 'k'), byte(i))} {
			prepare(key)
			if err := e.Forget(ctx, key); err != nil {
				t.Fatal(err)
			}
			mustContain(t, e, key, false)
			if i == 0 {
				e.crash(t)
			} else {
				mustClose(t, e)
			}
			e = mustOpen(t, dir, o)
			mustContain(t, e, key, false)
			admitAll(t, e, [][]byte{key}, dedup.Fresh)
			flushAll(t, e)
			admitAll(t, e, [][]byte{key}, dedup.Duplicate)
		}
	}
	c := mustClaim(t, e, []byte("claimed"), dedup.Fresh)
	if err := e.Forget(ctx, []byte("claimed")); err != nil {
		t.Fatal(err)
	}
	mustClaim(t, e, []byte("claimed"), dedup.InFlight) // a claim stays
	if err := e.Commit(ctx, c); err != nil {
		t.Fatal(err)
	}
}
