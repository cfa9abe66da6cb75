package hash

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cespare/xxhash/v2"

	"github.com/firstseen/firstseen/internal/hash/hashtest"
)

// testSeed is a directory's seed, fixed by n.
func testSeed(n uint64) (seed [32]byte) {
	rng := rand.New(rand.NewPCG(n, 0x5eed))
	for i := range seed {
		seed[i] = byte(rng.Uint32())
	}
	return seed
}

// eachHasher runs f with a plain and a keyed hasher of several seeds.
func eachHasher(t *testing.T, f func(t *testing.T, h *Hasher)) {
	for n := range uint64(4) {
		for _, untrusted := range []bool{false, true} {
			t.Run(fmt.Sprintf("seed=%d/untrusted=%v", n, untrusted), func(t *testing.T) {
				f(t, New(testSeed(n), untrusted))
			})
		}
	}
}

func sum(h *Hasher, key []byte) Key {
	var digest [DigestLen]byte
	return h.Sum(key, &digest)
}

// edgeWords are the halves of which edge keys are made: no bits, all bits, one
// bit, and what looks like text.
var edgeWords = []string{
	"\x00\x00\x00\x00\x00\x00\x00\x00", "\xff\xff\xff\xff\xff\xff\xff\xff", "\x01\x00\x00\x00\x00\x00\x00\x00",
	"\x00\x00\x00\x00\x00\x00\x00\x80", "\x80\x00\x00\x00\x00\x00\x00\x00", "00000000", "zzzzzzzz",
}

// TestRoundTrip: for the fixed forms the pair is the key.
func TestRoundTrip(t *testing.T) {
	var raw [][]byte
	for _, a := range edgeWords {
		for _, b := range edgeWords {
			raw = append(raw, []byte(a+b))
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		raw = append(raw, randomBytes(rng, 16))
	}
	eachHasher(t, func(t *testing.T, h *Hasher) {
		check := func(key []byte, form Form) {
			t.Helper()
			k := sum(h, key)
			if k.Form != form {
				t.Fatalf("%q: form %d, want %d", key, k.Form, form)
			}
			if got := h.Text(k); !bytes.Equal(got, key) {
				t.Fatalf("%q comes back as %q", key, got)
			}
		}
		for _, key := range raw {
			check(key, Raw16)
			check([]byte(uuidText(key)), UUID)
			check([]byte(ulidText(key)), ULID)
		}
	})
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// TestFormsAreApart: the same 16 bytes as raw key and as UUID and ULID text are
// three keys, and must not meet in their hash either.
func TestFormsAreApart(t *testing.T) {
	eachHasher(t, func(t *testing.T, h *Hasher) {
		rng := rand.New(rand.NewPCG(3, 4))
		for range 200 {
			raw := randomBytes(rng, 16)
			a, b, c := sum(h, raw), sum(h, []byte(uuidText(raw))), sum(h, []byte(ulidText(raw)))
			if a.Hi == b.Hi || b.Hi == c.Hi || a.Hi == c.Hi {
				t.Fatalf("%x: hashes %x, %x, %x", raw, a.Hi, b.Hi, c.Hi)
			}
		}
	})
}

// TestVariableForms: Hi is the hash of the stored bytes, whatever the length.
func TestVariableForms(t *testing.T) {
	eachHasher(t, func(t *testing.T, h *Hasher) {
		rng := rand.New(rand.NewPCG(5, 6))
		for _, n := range []int{1, 2, 7, 8, 9, 15, 17, 25, 26, 27, 31, 32, 33, 35, 36, 37, 64, 254, 255, 256, 257, 1000, 65535} {
			key := randomBytes(rng, n)
			key[0] = 0xff // no UUID and no ULID
			var digest [DigestLen]byte
			k := h.Sum(key, &digest)
			form, record := Bytes, key
			if n > MaxBytes {
				want := sha256.Sum256(key)
				if digest != want {
					t.Fatalf("%d bytes: digest %x, want %x", n, digest, want)
				}
				form, record = Digest, want[:]
			} else if digest != ([DigestLen]byte{}) {
				t.Fatalf("%d bytes: digest was written", n)
			}
			if want := (Key{Hi: h.Record(record), Form: form}); k != want {
				t.Fatalf("%d bytes: %+v, want %+v", n, k, want)
			}
			if k.Form.Fixed() {
				t.Fatalf("form %d counts as fixed", k.Form)
			}
		}
	})
}

// TestSeedDecides: another seed, and the keyed hash, give other hashes.
func TestSeedDecides(t *testing.T) {
	keys := [][]byte{[]byte("0123456789abcdef"), []byte("short"), bytes.Repeat([]byte("long"), 100),
		[]byte("f81d4fae-7dec-11d0-a765-00a0c91e6bf6"), []byte("01ARZ3NDEKTSV4RRFFQ69G5FAV")}
	for _, key := range keys {
		seen := map[uint64]bool{}
		for n := range uint64(16) {
			for _, untrusted := range []bool{false, true} {
				seen[sum(New(testSeed(n), untrusted), key).Hi] = true
			}
		}
		if len(seen) != 32 {
			t.Errorf("%.30q: %d hashes under 16 seeds and 2 ways, want 32", key, len(seen))
		}
	}
}

// collidingPair returns two keys with equal XXH64 under every seed (see hashtest.Collide).
func collidingPair(t testing.TB) (a, b []byte) {
	a, err := hex.DecodeString("6f726465722d30303030303030303031")
	if err != nil {
		t.Fatal(err)
	}
	b, err = hex.DecodeString("8f6563cd7478b85030303030df7bbd47")
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

// TestFour: four keys each meet in xxHash64 whatever its seed, not under the keyed
// hash, and all are different.
func TestFour(t *testing.T) {
	seen := map[string]bool{}
	for i := range uint64(4000) {
		first, key := hashtest.Four(i&^3), hashtest.Four(i)
		if seen[string(key)] || len(key) != hashtest.FourLen {
			t.Fatalf("key %d is there already or of %d bytes", i, len(key))
		}
		seen[string(key)] = true
		trusted, untrusted := New(testSeed(i), false), New(testSeed(i), true)
		if trusted.Record(first) != trusted.Record(key) {
			t.Fatalf("key %d does not meet key %d", i, i&^3)
		}
		if i&3 != 0 && untrusted.Record(first) == untrusted.Record(key) {
			t.Fatalf("key %d meets key %d under the keyed hash", i, i&^3)
		}
	}
}

// TestCollidingPair: what collides under xxHash64 is two keys here (I3).
func TestCollidingPair(t *testing.T) {
	a, b := collidingPair(t)
	rng := rand.New(rand.NewPCG(7, 8))
	for range 100 {
		x, y := xxhash.NewWithSeed(rng.Uint64()), xxhash.NewWithSeed(rng.Uint64())
		_, _ = x.Write(a)
		*y = *x
		seed := rng.Uint64()
		x.ResetWithSeed(seed)
		y.ResetWithSeed(seed)
		_, _ = x.Write(a)
		_, _ = y.Write(b)
		if x.Sum64() != y.Sum64() {
			t.Fatalf("the pair doesn't collide under seed %x: the test shows nothing", seed)
		}
	}
	eachHasher(t, func(t *testing.T, h *Hasher) {
		if x, y := sum(h, a), sum(h, b); x == y || x.Hi == y.Hi {
			t.Fatalf("%+v and %+v", x, y)
		}
	})
}

func TestSumAllocatesNothing(t *testing.T) {
	var digest [DigestLen]byte
	for _, key := range [][]byte{[]byte("0123456789abcdef"), []byte("short"), bytes.Repeat([]byte("long"), 100),
		[]byte("f81d4fae-7dec-11d0-a765-00a0c91e6bf6"), []byte("01ARZ3NDEKTSV4RRFFQ69G5FAV")} {
		for _, untrusted := range []bool{false, true} {
			h := New(testSeed(1), untrusted)
			if n := testing.AllocsPerRun(100, func() { h.Sum(key, &digest) }); n != 0 {
				t.Errorf("%.30q, untrusted %v: %v allocations", key, untrusted, n)
			}
		}
	}
}

// FuzzSum: every key of a fixed form comes back whole, every other key keeps the
// hash of what is stored of it.
func FuzzSum(f *testing.F) {
	a, b := collidingPair(f)
	for _, key := range [][]byte{a, b, []byte("x"), bytes.Repeat([]byte{0}, 16), bytes.Repeat([]byte("y"), 256),
		[]byte("f81d4fae-7dec-11d0-a765-00a0c91e6bf6"), []byte("F81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
		[]byte("01ARZ3NDEKTSV4RRFFQ69G5FAV"), []byte("81ARZ3NDEKTSV4RRFFQ69G5FAV")} {
		f.Add(uint64(1), false, key)
		f.Add(uint64(2), true, key)
	}
	f.Fuzz(func(t *testing.T, seed uint64, untrusted bool, key []byte) {
		if len(key) == 0 || len(key) > 65535 {
			return
		}
		h := New(testSeed(seed), untrusted)
		var digest [DigestLen]byte
		k := h.Sum(key, &digest)
		if want := dumbForm(key); k.Form != want {
			t.Fatalf("%q: form %d, want %d", key, k.Form, want)
		}
		switch k.Form {
		case Bytes:
			if k.Hi != h.Record(key) || k.Lo != 0 {
				t.Fatalf("%q: %+v", key, k)
			}
		case Digest:
			if want := sha256.Sum256(key); digest != want || k.Hi != h.Record(want[:]) || k.Lo != 0 {
				t.Fatalf("%q: %+v", key, k)
			}
		default:
			if got := h.Text(k); !bytes.Equal(got, key) {
				t.Fatalf("%q comes back as %q", key, got)
			}
		}
	})
}
