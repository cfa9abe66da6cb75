package hash

import (
	"encoding/hex"
	"math/big"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

var (
	uuidPattern = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	ulidPattern = regexp.MustCompile(`^[0-7][0-9A-HJKMNP-TV-Z]{25}$`)
)

// dumbForm is the plain twin of the bit-parallel classification.
func dumbForm(key []byte) Form {
	text := string(key)
	switch {
	case len(key) == 16:
		return Raw16
	case len(key) > MaxBytes:
		return Digest
	case uuidPattern.MatchString(text) && !strings.HasSuffix(text, "\n"):
		return UUID
	case ulidPattern.MatchString(text) && !strings.HasSuffix(text, "\n"):
		return ULID
	}
	return Bytes
}

func uuidText(raw []byte) string {
	h := hex.EncodeToString(raw)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// ulidText writes 128 bits in base 32, the way of the ULID specification, with
// arithmetic instead of shifts.
func ulidText(raw []byte) string {
	n, base, digit := new(big.Int).SetBytes(raw), big.NewInt(32), new(big.Int)
	out := make([]byte, 26)
	for i := 25; i >= 0; i-- {
		n.DivMod(n, base, digit)
		out[i] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"[digit.Int64()]
	}
	return string(out)
}

// TestNearMisses: whatever differs from a canonical text in one byte is another
// key or no such text at all; it never takes the place of the text.
func TestNearMisses(t *testing.T) {
	h := New(testSeed(1), false)
	for _, text := range []string{
		"f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff",
		"01ARZ3NDEKTSV4RRFFQ69G5FAV", "00000000000000000000000000", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
	} {
		whole := sum(h, []byte(text))
		for at := range len(text) {
			for c := range 256 {
				key := []byte(text)
				if key[at] == byte(c) {
					continue
				}
				key[at] = byte(c)
				k := sum(h, key)
				if want := dumbForm(key); k.Form != want {
					t.Fatalf("%q: form %d, want %d", key, k.Form, want)
				}
				if k == whole {
					t.Fatalf("%q and %q are the same key", key, text)
				}
				if k.Form.Fixed() && string(h.Text(k)) != string(key) {
					t.Fatalf("%q comes back as %q", key, h.Text(k))
				}
			}
		}
	}
}

// TestNoCanonicalText names the near misses that people send.
func TestNoCanonicalText(t *testing.T) {
	h := New(testSeed(1), false)
	for _, text := range []string{
		"F81D4FAE-7DEC-11D0-A765-00A0C91E6BF6", // upper case
		"f81d4fae-7dec-11d0-a765-00a0c91e6bfg",
		"o81d4fae-7dec-11d0-a765-00a0c91e6bf6",
		"f81d4fae-7dec-11d0-a765-00a0c91e6bf:",
		"f81d4fae-7dec-11d0-a765-00a0c91e6bf/",
		"f81d4fae-7dec-11d0-a765-00a0c91e6bf@",
		"f81d4fae-7dec-11d0-a765-00a0c91e6bf`",
		"f81d4fae_7dec_11d0_a765_00a0c91e6bf6",
		"f81d4fa-e7dec-11d0-a765-00a0c91e6bf6",
		"f81d4fae7dec-11d0-a765-00a0c91e6bf6-",
		"f81d4fae-7dec-11d0-a765-00a0c91e6bf\xb6",
		"f81d4fae-7dec-11d0-a765-00a0c91e6bf\x16", // differs from '6' and 'V' by a bit
		"{81d4fae-7dec-11d0-a765-00a0c91e6bf}",
		"01arz3ndektsv4rrffq69g5fav", // lower case
		"81ARZ3NDEKTSV4RRFFQ69G5FAV", // more than 128 bits
		"01ARZ3NDEKTSV4RRFFQ69G5FAI",
		"01ARZ3NDEKTSV4RRFFQ69G5FAL",
		"01ARZ3NDEKTSV4RRFFQ69G5FAO",
		"01ARZ3NDEKTSV4RRFFQ69G5FAU",
		"\xb01ARZ3NDEKTSV4RRFFQ69G5FA",
		"Z1ARZ3NDEKTSV4RRFFQ69G5FAV",
	} {
		if k := sum(h, []byte(text)); k.Form != Bytes {
			t.Errorf("%q has form %d", text, k.Form)
		}
	}
}

// TestFormsMatchTwin compares random texts, most of them nearly canonical, with
// the plain twin.
func TestFormsMatchTwin(t *testing.T) {
	h := New(testSeed(2), true)
	rng := rand.New(rand.NewPCG(9, 10))
	counts := [Forms]int{}
	for range 20_000 {
		raw := randomBytes(rng, 16)
		text := []byte(uuidText(raw))
		if rng.IntN(2) == 0 {
			text = []byte(ulidText(raw))
		}
		for range rng.IntN(3) {
			text[rng.IntN(len(text))] = "0123456789abcdefghijklmnoABCDEFGHIJKLMNOUZ-:_"[rng.IntN(45)]
		}
		k := sum(h, text)
		if want := dumbForm(text); k.Form != want {
			t.Fatalf("%q: form %d, want %d", text, k.Form, want)
		}
		if k.Form.Fixed() && string(h.Text(k)) != string(text) {
			t.Fatalf("%q comes back as %q", text, h.Text(k))
		}
		counts[k.Form]++
	}
	for _, f := range []Form{UUID, ULID, Bytes} {
		if counts[f] < 1000 {
			t.Errorf("form %d came only %d times", f, counts[f])
		}
	}
}
