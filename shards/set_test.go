package shards

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/firstseen/firstseen/bloom"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/hash/hashtest"
)

func key16(i int) []byte { return fmt.Appendf(nil, "%016d", i) }

// TestTwinsInABatch: a key that comes twice is fresh once, and a claimed one is
// held from then on, in every form and whether or not the filter is sure.
func TestTwinsInABatch(t *testing.T) {
	for _, blind := range []bool{false, true} {
		h := newBed(t, Config{})
		h.set.AddGeneration(1, false, blind)
		for _, key := range [][]byte{key16(1), []byte("k"), bytes.Repeat([]byte("k"), 400), []byte("f81d4fae-7dec-11d0-a765-00a0c91e6bf6")} {
			if got := h.admit(key, key16(99), key, key); got[0] != dedup.Fresh || got[2] != dedup.Duplicate || got[3] != dedup.Duplicate {
				t.Errorf("blind %v, %.20q: %v", blind, key, got)
			}
			other := append([]byte("other "), key...)
			if cs := h.claim(10, other, other); cs[0].Verdict != dedup.Fresh || cs[1].Verdict != dedup.InFlight {
				t.Errorf("blind %v, %.20q: claims %v, %v", blind, other, cs[0].Verdict, cs[1].Verdict)
			}
		}
	}
}

// TestCollidingKeys: two keys of one hash are two keys everywhere: in a batch,
// in the claims, in the unflushed keys and in the runs (I3).
func TestCollidingKeys(t *testing.T) {
	a := []byte("customer/00000001/invoice") // 25 bytes: form Bytes
	b := hashtest.Collide(a)
	hasher := testHasher(false)
	if x, y := hasher.Record(a), hasher.Record(b); x != y || bytes.Equal(a, b) {
		t.Fatalf("%q and %q have hashes %x and %x: the test shows nothing", a, b, x, y)
	}
	for _, order := range [][2][]byte{{a, b}, {b, a}} {
		for _, blind := range []bool{false, true} {
			x, y := order[0], order[1]
			t.Run(fmt.Sprintf("blind=%v/first=%x", blind, x[:4]), func(t *testing.T) {
				batch := newBed(t, Config{})
				batch.set.AddGeneration(1, false, blind)
				if got := batch.admit(x, y, x, y); fmt.Sprint(got) != "[fresh fresh duplicate duplicate]" {
					t.Errorf("in one batch: %v", got)
				}
				apart := newBed(t, Config{})
				apart.set.AddGeneration(1, false, blind)
				for _, k := range order {
					if got := apart.admit(k); got[0] != dedup.Fresh {
						t.Errorf("%q alone: %v", k, got)
					}
				}
				runs := newBed(t, Config{})
				runs.admit(x)
				runs.flushAll()
				if got := runs.look(x, y); fmt.Sprint(got) != "[duplicate fresh]" {
					t.Errorf("with one of them in a run: %v", got)
				}
				claimed := newBed(t, Config{})
				cs := claimed.claim(10, x, y)
				if cs[0].Verdict != dedup.Fresh || cs[1].Verdict != dedup.Fresh {
					t.Errorf("claims: %v, %v", cs[0].Verdict, cs[1].Verdict)
				}
				claimed.release(cs[1])
				if got := claimed.admit(y, x); fmt.Sprint(got) != "[fresh in-flight]" {
					t.Errorf("one of them claimed: %v", got)
				}
				claimed.forget(y)
				if got := claimed.look(y, x); fmt.Sprint(got) != "[fresh fresh]" {
					t.Errorf("one of them forgotten: %v", got)
				}
			})
		}
	}
}

// TestForgetBetween: a tombstone overrides what an older run holds, not what a
// newer mark says, wherever either lies by now.
func TestForgetBetween(t *testing.T) {
	key := key16(3)
	h := newBed(t, Config{})
	steps := []struct {
		do   func()
		want dedup.Verdict
	}{
		{func() { h.admit(key) }, dedup.Duplicate},
		{func() { h.flushAll() }, dedup.Duplicate},
		{func() { h.forget(key) }, dedup.Fresh},
		{func() { h.flushAll() }, dedup.Fresh},
		{func() { h.restart() }, dedup.Fresh},
		{func() { h.admit(key) }, dedup.Duplicate},
		{func() { h.set.Seal(^uint64(0)) }, dedup.Duplicate},
		{func() { h.forget(key) }, dedup.Fresh},
		{func() { h.rotate() }, dedup.Fresh},
		{func() { h.admit(key) }, dedup.Duplicate},
		{func() { h.flushAll() }, dedup.Duplicate},
		{func() { h.restart() }, dedup.Duplicate},
		{func() { h.retire(2) }, dedup.Duplicate},
	}
	for i, s := range steps {
		s.do()
		if got := h.look(key)[0]; got != s.want {
			t.Fatalf("after step %d: %v, want %v", i, got, s.want)
		}
	}
}

// TestLost: with runs missing a "maybe" that isn't found is Unknown, and marks
// nothing; a key that the filter doesn't know is fresh all the same.
func TestLost(t *testing.T) {
	h := newBed(t, Config{})
	h.admit(key16(1), key16(2))
	h.flushAll()
	for _, runs := range h.runs.byShard {
		for _, r := range runs {
			clear(r.keys)
		}
	}
	h.set.AddGeneration(1, true, false)
	for range 2 {
		if got := h.admit(key16(1))[0]; got != dedup.Unknown {
			t.Errorf("a key of the lost run: %v", got)
		}
	}
	if got := h.admit(key16(3), key16(3)); got[0] != dedup.Fresh || got[1] != dedup.Duplicate {
		t.Errorf("a key that was never marked: %v", got)
	}
	h.rotate()
	h.retire(2)
	if got := h.admit(key16(1))[0]; got != dedup.Fresh {
		t.Errorf("after the lost generation went: %v", got)
	}
}

// TestRoom: a mark waits while too many sealed tables wait for their flush; the
// wait ends with room, with the context's cause, or with a refusal.
func TestRoom(t *testing.T) {
	h := newBed(t, Config{Shards: 1, MaxKeys: 10, MaxSealed: 1})
	for i := range 11 {
		h.admit(key16(i))
	}
	for i := 11; h.set.Sizes().Sealed < 1 || h.set.Sizes().Unflushed < 20; i++ {
		h.admit(key16(i))
	}
	admit := func(ctx context.Context, key []byte) error {
		var b Batch
		b.Out = make([]dedup.Verdict, 1)
		h.set.Route(&b, [][]byte{key})
		return h.set.Admit(ctx, &b, h.now)
	}
	cause := errors.New("no time left")
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error)
	go func() { done <- admit(ctx, key16(1000)) }()
	cancel(cause)
	if err := <-done; !errors.Is(err, cause) {
		t.Errorf("cancelled: %v", err)
	}
	refusal := errors.New("refused")
	go func() { done <- admit(context.Background(), key16(1001)) }()
	h.set.Refuse(refusal)
	if err := <-done; !errors.Is(err, refusal) {
		t.Errorf("refused: %v", err)
	}
	h.set.Refuse(nil)
	go func() { done <- admit(context.Background(), key16(1002)) }()
	h.flushOne()
	if err := <-done; err != nil {
		t.Errorf("with room: %v", err)
	}
	if got := h.look(key16(1000), key16(1001), key16(1002)); fmt.Sprint(got) != "[fresh fresh duplicate]" {
		t.Errorf("the waiting keys are %v", got)
	}
}

// TestRoomAtRotation: a rotation seals whatever waits already; then no table is begun
// for which there is no memory.
func TestRoomAtRotation(t *testing.T) {
	h := newBed(t, Config{Shards: 1, MaxKeys: 10, MaxSealed: 2})
	for i := 0; h.set.Sizes().Sealed < 2; i++ {
		h.admit(key16(i))
	}
	h.set.Rotate(h.c.Generation + 1)
	if n := h.set.Sizes().Sealed; n != 3 {
		t.Fatalf("%d tables are sealed", n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	admit := func() error {
		var b Batch
		b.Out = make([]dedup.Verdict, 1)
		h.set.Route(&b, [][]byte{key16(1000)})
		return h.set.Admit(ctx, &b, h.now)
	}
	if err := admit(); !errors.Is(err, context.Canceled) || h.set.Waits() != 1 {
		t.Errorf("a fourth table: %v after %d waits, want one", err, h.set.Waits())
	}
	h.flushOne()
	if err := admit(); err != nil || h.set.Waits() != 1 {
		t.Errorf("with room: %v after %d waits", err, h.set.Waits())
	}
}

// TestOfferedIsConfirmed: also of a call that fails half way what was offered to the
// Confirmer is asked for, so that none is at work when the batch is used again.
func TestOfferedIsConfirmed(t *testing.T) {
	h := newBed(t, Config{Shards: 2, MaxKeys: 10, MaxSealed: 1})
	ofShard := func(shard, n int) (keys [][]byte) {
		for i := 0; len(keys) < n; i++ {
			k := h.c.Hasher.Sum(key16(i), new([hash.DigestLen]byte))
			if int(k.Hi>>63) == shard {
				keys = append(keys, key16(i))
			}
		}
		return keys
	}
	first, second := ofShard(0, 4), ofShard(1, 30)
	h.admit(first...)
	h.flushAll()
	for i := 0; h.set.Sizes().Sealed < 1 || h.set.Sizes().Unflushed < 20; i++ {
		h.admit(second[i])
	}
	full, cancel := context.WithCancel(context.Background())
	cancel()
	var b Batch
	b.Out = make([]dedup.Verdict, 5)
	h.set.Route(&b, append(slices.Clone(first), second[29]))
	if err := h.set.Admit(full, &b, h.now); !errors.Is(err, context.Canceled) {
		t.Fatalf("a shard without room: %v", err)
	}
	o, _ := b.Aside.(*offered)
	if o == nil {
		t.Fatal("nothing was offered")
	}
	if o.pending != nil {
		t.Error("what was offered was not asked for")
	}
	h.flushAll()
	h.set.Route(&b, append(slices.Clone(first), second[29]))
	if err := h.set.Admit(context.Background(), &b, h.now); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(b.Out); got != "[duplicate duplicate duplicate duplicate fresh]" {
		t.Errorf("with room: %v", got)
	}
}

// TestLogFails: what could not be logged is an error, not an answer.
func TestLogFails(t *testing.T) {
	h := newBed(t, Config{})
	broken := errors.New("broken")
	h.log.fail = broken
	var b Batch
	b.Out = make([]dedup.Verdict, 2)
	h.set.Route(&b, [][]byte{key16(1), key16(2)})
	if err := h.set.Admit(context.Background(), &b, h.now); !errors.Is(err, broken) {
		t.Errorf("admit: %v", err)
	}
	h.set.Route(&b, [][]byte{key16(1)})
	if err := h.set.Forget(&b, h.now); !errors.Is(err, broken) {
		t.Errorf("forget: %v", err)
	}
}

// TestColumns: a generation's bits go from one set to another of equal shape.
func TestColumns(t *testing.T) {
	for _, kind := range []bloom.Kind{bloom.Sliced, bloom.Compact} {
		a, b := newBed(t, Config{Kind: kind}), newBed(t, Config{Kind: kind})
		a.admit(key16(1), []byte("two"))
		a.rotate()
		a.admit(key16(3))
		b.rotate()
		for shard := range a.c.Shards {
			column := a.set.Column(shard, 1, nil)
			if len(column) != a.set.SlotBytes() {
				t.Fatalf("a column has %d bytes, want %d", len(column), a.set.SlotBytes())
			}
			if err := b.set.MergeColumn(shard, 1, column); err != nil {
				t.Fatal(err)
			}
			if err := b.set.MergeColumn(shard, 1, column[8:]); err == nil {
				t.Fatal("a column of another size is taken")
			}
		}
		b.set.AddGeneration(1, true, false) // what the bits know and no run holds is Unknown
		if got := b.look(key16(1), []byte("two"), key16(3)); fmt.Sprint(got) != "[unknown unknown fresh]" {
			t.Errorf("%v: %v", kind, got)
		}
	}
}

// TestReplayRefuses: records that no log of this set can hold.
func TestReplayRefuses(t *testing.T) {
	h := newBed(t, Config{})
	sum := h.c.Hasher.Sum(key16(1), nil)
	shard := int(sum.Hi >> 62)
	pair := binaryPair(sum)
	good := LogEntry{Kind: Mark, Form: hash.Raw16, Shard: shard, Generation: 1, Count: 1, Payload: pair}
	var b Batch
	if err := h.set.Replay(&b, &good, 0, 24); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(r *LogEntry){
		"another shard":  func(r *LogEntry) { r.Shard = (shard + 1) % 4 },
		"no shard":       func(r *LogEntry) { r.Shard = 4 },
		"too short":      func(r *LogEntry) { r.Payload = pair[:15] },
		"too long":       func(r *LogEntry) { r.Payload = append(append([]byte(nil), pair...), 0) },
		"too many":       func(r *LogEntry) { r.Count = 2 },
		"variable short": func(r *LogEntry) { r.Form, r.Payload = hash.Bytes, []byte{5, 'a'} },
		"no kind":        func(r *LogEntry) { r.Kind = NoKind },
		"no form":        func(r *LogEntry) { r.Form = hash.Forms },
		"countless":      func(r *LogEntry) { r.Count = 1 << 40 },
		"variable none":  func(r *LogEntry) { r.Form, r.Payload = hash.Bytes, nil },
	} {
		r := good
		change(&r)
		if err := h.set.Replay(&b, &r, 24, 48); !errors.Is(err, dedup.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := h.look(key16(1)); got[0] != dedup.Duplicate {
		t.Errorf("the good record: %v", got)
	}
}

func binaryPair(k hash.Key) []byte {
	out := make([]byte, 0, 16)
	for _, w := range [...]uint64{k.Hi, k.Lo} {
		for range 8 {
			out = append(out, byte(w))
			w >>= 8
		}
	}
	return out
}

// TestLeases: the end of a lease belongs to the next caller (I2), and until he
// comes a commit is still good.
func TestLeases(t *testing.T) {
	h := newBed(t, Config{})
	first := h.claim(100, key16(1))[0]
	if want := time.Unix(0, h.now+100); !first.Expires.Equal(want) {
		t.Errorf("the lease ends at %v, want %v", first.Expires.UnixNano(), want.UnixNano())
	}
	h.now += 99
	if c := h.claim(100, key16(1))[0]; c.Verdict != dedup.InFlight || !c.Expires.Equal(first.Expires) || c.Token != (dedup.Token{}) {
		t.Errorf("within the lease: %+v", c)
	}
	if !h.set.Extend(first, h.now+50) {
		t.Error("a held claim can't be extended")
	}
	h.now += 49
	if c := h.claim(100, key16(1))[0]; c.Verdict != dedup.InFlight {
		t.Errorf("within the extended lease: %v", c.Verdict)
	}
	h.now++
	second := h.claim(100, key16(1))[0]
	if second.Verdict != dedup.Fresh || second.Token == first.Token {
		t.Errorf("after the lease: %+v", second)
	}
	if h.set.Extend(first, h.now+1000) || !h.commit(first)[0] || !h.release(first)[0] {
		t.Error("the first owner can still end or extend something")
	}
	h.now += 1000
	if h.commit(second)[0] {
		t.Error("a late commit is refused though nobody took the key")
	}
	if got := h.admit(key16(1)); got[0] != dedup.Duplicate {
		t.Errorf("after the commit: %v", got)
	}
}

// TestNoMemory: a batch for which there is no memory half way is an error, and
// what it had marked by then is in the log and the filter like any other mark.
func TestNoMemory(t *testing.T) {
	h := newBed(t, Config{Shards: 1})
	keys := make([][]byte, 1000)
	for i := range keys {
		if keys[i] = key16(i); i >= 500 {
			keys[i] = append(keys[i], '!')
		}
	}
	h.admit(keys[0])
	_ = h.set.SetMaxKeys(1<<46, 0) // more records than any mapping holds
	var b Batch
	b.Out = make([]dedup.Verdict, len(keys))
	h.set.Route(&b, keys)
	if err := h.set.Admit(context.Background(), &b, h.now); err == nil {
		t.Fatal("there was memory: the test shows nothing")
	}
	logged := h.log.marks(t)
	if in := h.set.shards[0].active.keys; logged != in || in < 2 {
		t.Fatalf("%d keys are in the log, %d in the table", logged, in)
	}
	for i, v := range h.look(keys[:logged]...) {
		if v != dedup.Duplicate {
			t.Fatalf("key %d of %d that are marked: %v", i, logged, v)
		}
	}
}

// TestGapEndsWithItsGeneration: what is said of an incomplete generation does not
// hold for the one that takes its slot.
func TestGapEndsWithItsGeneration(t *testing.T) {
	h := newBed(t, Config{})
	h.set.AddGeneration(1, true, true)
	if v := h.admit(key16(0))[0]; v != dedup.Unknown {
		t.Fatalf("in the gap: %v", v)
	}
	for range h.c.Generations {
		h.rotate()
	}
	if v := h.admit(key16(1))[0]; v != dedup.Fresh {
		t.Errorf("after the gap: %v", v)
	}
	for i := range h.set.shards { // either one alone costs look-ups, or answers of rare keys
		if s := &h.set.shards[i]; s.blind|s.lost != 0 {
			t.Errorf("shard %d: blind %08b, lost %08b", i, s.blind, s.lost)
		}
	}
}

// TestRetiredLive: keys that are marked in a generation that is older than the window
// already, as after a jump of the clock, are unique in it all the same.
func TestRetiredLive(t *testing.T) {
	h := newBed(t, Config{Shards: 1})
	h.admit(key16(1))
	h.retire(h.live + 1)
	if got := h.admit(key16(1), key16(2), key16(2)); fmt.Sprint(got) != "[duplicate fresh duplicate]" {
		t.Errorf("%v", got)
	}
}
