package sqlstore

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"slices"

	"github.com/firstseen/firstseen/dedup"
)

// A Nonce is what the tokens of one call begin with.
type Nonce [12]byte

func newNonce() (n Nonce) {
	_, _ = rand.Read(n[:]) // never fails
	return n
}

// token makes the i-th token of a call. No two claims have the same one, since
// no two calls have the same nonce.
func (n Nonce) token(i int) (t dedup.Token) {
	copy(t[:], n[:])
	binary.BigEndian.PutUint32(t[len(n):], uint32(i))
	return t
}

// Mark is what stands in the column token of the rows that a call has marked.
func (n Nonce) Mark() dedup.Token { return n.token(1<<32 - 1) }

// Position returns what was given to make the token.
func Position(t dedup.Token) int {
	return int(binary.BigEndian.Uint32(t[len(Nonce{}):]))
}

// A keySet holds the valid keys of a call, each of them once and in order.
type keySet struct {
	items []*Item
	of    []int32 // the item of each position of the call, -1 for invalid keys
}

// newKeySet makes items of keys and gives them tokens. The errors name invalid
// keys.
func newKeySet(d Dialect, keys [][]byte, nonce Nonce) (keySet, []error) {
	var errs []error
	set := keySet{of: make([]int32, len(keys))}
	all := make([]Item, 0, len(keys))
	for i, key := range keys {
		set.of[i] = -1
		column, err := encode(d, i, key)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, Item{At: i, Key: column})
	}
	slices.SortFunc(all, func(a, b Item) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.At, b.At))
	})
	for i := range all {
		it := &all[i]
		if n := len(set.items); n == 0 || set.items[n-1].Key != it.Key {
			it.Token = nonce.token(it.At)
			set.items = append(set.items, it)
		}
		set.of[it.At] = int32(len(set.items) - 1)
	}
	return set, errs
}

// endings makes items of the claims that a call is to end. A key may come with
// several claims, of which one is held at most; each of the sets has it once.
func endings(d Dialect, claims []dedup.Claim, unguarded bool) [][]*Item {
	all := make([]Item, 0, len(claims))
	for i, c := range claims {
		if c.Verdict == dedup.Fresh && c.Unguarded == unguarded {
			key, _ := encode(d, i, c.Key) // no row has an empty one, so the claim is not held
			all = append(all, Item{At: i, Key: key, Token: c.Token, State: Marked, Result: c.Result})
		}
	}
	slices.SortFunc(all, func(a, b Item) int {
		return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.At, b.At))
	})
	var sets [][]*Item
	for i, nth := 0, 0; i < len(all); i++ {
		if i > 0 && all[i-1].Key == all[i].Key {
			nth++
		} else {
			nth = 0
		}
		if nth == len(sets) {
			sets = append(sets, nil)
		}
		sets[nth] = append(sets[nth], &all[i])
	}
	return sets
}

// maxBytes bounds the results of one statement, far below the packet sizes that
// servers allow by default.
const maxBytes = 1 << 20

// parts splits items into parts for one statement each.
func parts(items []*Item, most int) [][]*Item {
	var out [][]*Item
	from, size := 0, 0
	for i, it := range items {
		if i-from == most || (i > from && size+len(it.Result) > maxBytes) {
			out = append(out, items[from:i])
			from, size = i, 0
		}
		size += len(it.Result)
	}
	if from < len(items) {
		out = append(out, items[from:])
	}
	return out
}
