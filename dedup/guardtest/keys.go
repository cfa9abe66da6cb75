package guardtest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/firstseen/firstseen/dedup"
)

// keyCases: keys are opaque bytes, and sameness is decided on all of them.
var keyCases = []testCase{
	{"Keys/AllDifferent", 0, keysAllDifferent},
	{"Keys/OneByOne", 0, keysOneByOne},
	{"Keys/Longest", 0, keysLongest},
}

// differentKeys are pairwise different, and each has been taken for another by
// some store: by its collation, its padding, its column's length, its escaping
// or its own digest of long keys.
func differentKeys() []string {
	keys := []string{
		"\x00", "\x00\x00", "\xff", "\xff\xff", "0", "a", "A", "abc", "ABC", "Abc", "abc\x00", "abc ", "abc  ", " abc", "abc\n", "abc\t",
		"\xc3\xa9", "e\xcc\x81", "E\xcc\x81", "\xe9", "\xf0\x9f\x98\x80", "\xf0\x9f\x98", "stra\xc3\x9fe", "strasse", "STRASSE",
		"%", "_", "a%", "a_c", `\`, `\\`, "'", "''", `"`, "`", "; DROP TABLE t; --", "{a}", "{a}:b", "a:b", ":a:b", "a::b", "*", "null", "NULL",
		"T1:42", ":T1:42", "1", "01", "1.0", "1e0",
		"0b7e151628ae4a6ea6d2f09c5e1d2f3a", "0b7e1516-28ae-4a6e-a6d2-f09c5e1d2f3a", "0B7E1516-28AE-4A6E-A6D2-F09C5E1D2F3A",
		"01ARZ3NDEKTSV4RRFFQ69G5FAV", "01arz3ndektsv4rrffq69g5fav",
	}
	raw, _ := hex.DecodeString("0b7e151628ae4a6ea6d2f09c5e1d2f3a")
	keys = append(keys, string(raw))
	for _, n := range []int{15, 16, 17, 127, 128, 254, 255, 256, 257, 300, 767, 768, 3072, 3073, 4096} {
		same := strings.Repeat("p", n-1)
		long := same + "1"
		digest := sha256.Sum256([]byte(long))
		keys = append(keys, long, same+"2", same+"P", string(digest[:]), hex.EncodeToString(digest[:]))
	}
	return keys
}

func keysAllDifferent(b *bed) {
	keys := bytesOf(differentKeys()...)
	cs := b.claimAll(b.Guard, keys, dedup.Fresh)
	b.claimAll(b.Peer, keys, dedup.InFlight)
	// Every second key is marked, so that each has a neighbour that is not.
	var marked, free [][]byte
	for i, c := range cs {
		if i%2 == 0 {
			b.commit(b.Guard, c)
			marked = append(marked, keys[i])
		} else {
			b.release(b.Guard, c)
			free = append(free, keys[i])
		}
	}
	b.claimAll(b.Peer, marked, dedup.Duplicate)
	b.claimAll(b.Guard, free, dedup.Fresh)
}

func keysOneByOne(b *bed) {
	for i, key := range differentKeys() {
		c, err := b.Guard.Claim(ctx, []byte(key))
		if err != nil || c.Verdict != dedup.Fresh {
			b.Fatalf("key %d, %s, is %v (%v) after keys that all differ from it", i, short(key), c.Verdict, err)
		}
		b.commit(b.Guard, c)
	}
	for _, key := range differentKeys() {
		b.claim(b.Peer, key, dedup.Duplicate)
	}
}

func keysLongest(b *bed) {
	same := strings.Repeat("x", dedup.MaxKeyLen-1)
	keys := bytesOf(same+"1", same+"2", "2"+same, same)
	cs := b.claimAll(b.Guard, keys, dedup.Fresh)
	b.commit(b.Guard, cs[0], cs[2])
	b.release(b.Guard, cs[1], cs[3])
	b.claimAll(b.Peer, [][]byte{keys[0], keys[2]}, dedup.Duplicate)
	b.claimAll(b.Guard, [][]byte{keys[1], keys[3]}, dedup.Fresh)
}

// short is a key as a message shows it.
func short(key string) string {
	if len(key) > 40 {
		return fmt.Sprintf("%q… (%d bytes)", key[:40], len(key))
	}
	return fmt.Sprintf("%q", key)
}
