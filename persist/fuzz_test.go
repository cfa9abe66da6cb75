package persist

import (
	"errors"
	"testing"

	"github.com/firstseen/firstseen/dedup"
)

func FuzzDecodeIdentity(f *testing.F) {
	data := Identity{Seed: [32]byte{1, 2, 3}, Shards: 16, Untrusted: true, Created: 4}.encode()
	f.Add(data[sealHeader : len(data)-4])
	f.Fuzz(func(t *testing.T, body []byte) {
		data := seal(identityMagic, identityVersion, body)
		id, err := decodeIdentity(data, IdentityName)
		if err != nil {
			if !errors.Is(err, dedup.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if string(id.encode()) != string(data) {
			t.Fatalf("%+v encodes differently", id)
		}
	})
}

// FuzzBlock: a block of any bytes, as a salvaged one may be, is refused or gives
// as many keys as it has, and finds them.
func FuzzBlock(f *testing.F) {
	f.Add(uint8(0), uint32(4096), uint8(4), uint32(7), make([]byte, 28))
	f.Add(uint8(3), uint32(2), uint8(0), uint32(1), []byte("\x01a\x02bc"))
	f.Add(uint8(0), uint32(2), uint8(6), uint32(1), []byte("0000000000000000")) // farther behind the block's first order than there are orders
	f.Fuzz(func(t *testing.T, form uint8, blocks uint32, zeros uint8, block uint32, records []byte) {
		if blocks == 0 || zeros > maxZeros || block >= blocks {
			return
		}
		r := &Run{meta: RunMeta{Form: form, Blocks: blocks, Zeros: zeros}, layout: layoutOf(uint64(blocks), zeros)}
		var b Block
		if !b.parse(r, block, records) {
			return
		}
		b.sum()
		rest := 0
		for i := range b.Len() {
			if !fixedForm(form) {
				key := b.Key(i)
				if rest += 1 + len(key); !findBytes(records, key) {
					t.Fatalf("key %d, %x, is not found", i, key)
				}
				continue
			}
			rest += r.layout.recordBytes()
			order, lo := b.Pair(i)
			if order>>zeros-b.first != r.layout.distance(records) {
				continue // no writer's: the order has overflowed
			}
			if in, part := blockOf(order, blocks); in == block && b.Len() == 1 && !r.layout.find(records, block, part, order, lo) {
				t.Fatalf("order %#x is not found", order)
			}
		}
		if rest != len(records) {
			t.Fatalf("%d keys of %d bytes in a block of %d", b.Len(), rest, len(records))
		}
	})
}
