package engine

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/hash"
	"github.com/firstseen/firstseen/internal/hash/hashtest"
)

// TestFaultsHostileKeys asks for keys that were chosen to be mixed up: equal
// hashes, one prefix of the hash, the longest, the shortest, Badger's own names.
// Each is Fresh once and Duplicate ever after (I3).
func TestFaultsHostileKeys(t *testing.T) {
	runFaults(t, func(p *faultPart) {
		for _, untrusted := range []bool{false, true} {
			hostileKeys(p, untrusted)
		}
	})
}

func hostileKeys(p *faultPart, untrusted bool) {
	ctx := context.Background()
	dir := p.t.TempDir()
	opts := config{Options: Options{
		Window:        time.Hour,
		Capacity:      5000,
		Shards:        4,
		Sync:          SyncNone,
		UntrustedKeys: untrusted,
		MinFreeDisk:   -1,
	}, hooks: hooks{
		tableKeys: 1000,
		ringBytes: 2 << 20,
	}}
	e := faultOpen(p.t, dir, opts)
	h := hash.New(e.id.Seed, untrusted)
	families := map[string][][]byte{"names of Badger's": {
		[]byte("!badger!"), []byte("!badger!txn"), []byte("!badger!banned"), []byte("!badger!discard"), []byte("!badger!\x00head"), []byte("r\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff")}}
	add := func(family string, key []byte) { families[family] = append(families[family], key) }
	for i := range uint64(faultScale(120, 3000)) {
		add("one hash", h.Text(hash.Key{Form: hash.Raw16, Hi: 0x1234567800000000, Lo: i}))
		add("one hash prefix", h.Text(hash.Key{Form: hash.Raw16, Hi: 0xabcdef0123<<24 | i, Lo: i}))
		add("one hash as UUID", h.Text(hash.Key{Form: hash.UUID, Hi: 0x1234567800000000, Lo: i}))
	}
	add("hash and rest of zero", h.Text(hash.Key{Form: hash.Raw16}))
	for i := range 8 {
		long := bytes.Repeat([]byte{'x'}, dedup.MaxKeyLen)
		long[dedup.MaxKeyLen-1-i] = 'y'
		add("longest", long)
	}
	for n := 250; n < 262; n++ {
		add("around the limit of a record", bytes.Repeat([]byte{'z'}, n))
	}
	for b := range 256 {
		add("one byte", []byte{byte(b)})
	}
	// Equal under XXH64 whatever the seed, and so with the same four bytes behind.
	for _, s := range []string{"6f726465722d30303030303030303031", "8f6563cd7478b85030303030df7bbd47"} {
		k, _ := hex.DecodeString(s)
		add("equal xxHash64", append(k, "tail"...))
		add("equal xxHash64, 16 bytes", k)
	}
	for round := range 3 { // new, then unflushed or in runs, then after a restart
		for family, keys := range families {
			vs, err := e.AdmitBatch(ctx, nil, keys)
			if err != nil {
				p.errorf("%s: %v", family, err)
				return
			}
			for i, v := range vs {
				if (v == dedup.Fresh) != (round == 0) || v != dedup.Fresh && v != dedup.Duplicate {
					p.errorf("round %d, %s: key %d is %v", round, family, i, v)
					return
				}
			}
			p.count("keys", len(keys))
		}
		if round == 0 {
			e.set.Seal(^uint64(0))
			e.flusher.wake()
			faultWait(p.t, "flush", func() bool { return e.Stats().Flush.UnflushedKeys == 0 })
		}
		if round == 1 {
			e.crash(p.t)
			e = faultOpen(p.t, dir, opts)
		}
	}
	for _, key := range [][]byte{nil, {}, make([]byte, dedup.MaxKeyLen+1)} {
		if v, err := e.Admit(ctx, key); v != dedup.Unknown || !errors.Is(err, dedup.ErrKeyInvalid) {
			p.errorf("a key of %d bytes: %v, %v", len(key), v, err)
		}
	}
	faultClose(p.t, e)
}

// TestFaultsHostileWork counts what an engine does for keys that were built against
// the unkeyed hash by somebody who even knows the directory's seed. With
// UntrustedKeys they must be keys like others: at most twice the work that random
// ones make. Time is the benchmark's matter (dedupbench, workload hostile).
func TestFaultsHostileWork(t *testing.T) {
	runFaults(t, func(p *faultPart) {
		random := hostileWork(p, "random", func(_ *hash.Hasher, i uint64) []byte { return faultKey(8 * i) })
		for family, build := range map[string]func(h *hash.Hasher, i uint64) []byte{
			"one hash": func(h *hash.Hasher, i uint64) []byte { return h.Text(hash.Key{Hi: 0x1234567800000000, Lo: i}) },
			// A thousand in a block of the filter, and neighbours in table and runs.
			"one hash prefix": func(h *hash.Hasher, i uint64) []byte {
				return h.Text(hash.Key{Hi: 0xabcdef<<40 | i<<12, Lo: i})
			},
			"fours of one xxHash64": func(_ *hash.Hasher, i uint64) []byte { return hashtest.Four(i) },
		} {
			for what, n := range hostileWork(p, family, build) {
				if n > 2*random[what]+20 {
					p.errorf("%s: %d %s, random keys make %d", family, n, what, random[what])
				}
			}
		}
	})
}

// hostileWork admits keys twice, the second time out of runs, and returns what
// was counted meanwhile.
func hostileWork(p *faultPart, family string, build func(unkeyed *hash.Hasher, i uint64) []byte) map[string]uint64 {
	const batch = 500
	n := faultScale(10_000, 200_000)
	// Room in a table for a fifth of the shard's keys: five runs each, where none
	// is sealed early because it is full in one place.
	e := faultOpen(p.t, memoryDir(p.t, 64<<20), config{Options: Options{
		Window:        time.Hour,
		Capacity:      uint64(n),
		Shards:        4,
		Sync:          SyncNone,
		UntrustedKeys: true,
		MinFreeDisk:   -1,
	}, hooks: hooks{
		tableKeys: n / 20,
		ringBytes: 4 << 20,
	}})
	unkeyed := hash.New(e.id.Seed, false)
	keys := make([][]byte, n)
	for i := range keys {
		keys[i] = build(unkeyed, uint64(i))
	}
	for range 2 {
		for part := range slices.Chunk(keys, batch) {
			if _, err := e.AdmitBatch(context.Background(), nil, part); err != nil {
				p.fatalf("%s: %v", family, err)
			}
		}
		e.set.Seal(^uint64(0))
		faultWait(p.t, "flush", func() bool { return e.Stats().Flush.UnflushedKeys == 0 })
	}
	s := e.Stats()
	faultClose(p.t, e)
	if s.Verdicts.Fresh != uint64(n) || s.Verdicts.Duplicate != uint64(n) {
		p.errorf("%s: of %d keys sent twice %d were fresh", family, n, s.Verdicts.Fresh)
	}
	work := map[string]uint64{
		"needless look-ups": s.Lookups.FalsePositive,
		"runs asked":        s.Lookups.RunsAsked,
		"flushes":           s.Flush.Flushes,
	}
	for what, n := range work {
		p.count(what+", "+family, int(n))
	}
	return work
}
