package bloom

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/firstseen/firstseen/internal/mem"
)

var update = flag.Bool("update", false, "write the golden files anew")

// takeSnapshot writes slot 1 of filters that hold what keysOf gives, and returns
// the bytes and the header.
func takeSnapshot(t testing.TB, kind Kind, c Config, shards int, keysOf func(shard int) []uint64) ([]byte, SnapshotHeader) {
	t.Helper()
	filters := make([]batcher, shards)
	h := SnapshotHeader{Kind: kind, Generations: c.Generations, Generation: 4711, Start: 1_700_000_000_000_000_000, End: 1_700_000_360_000_000_000}
	for shard := range filters {
		f := open(t, kind, c)
		keys := keysOf(shard)
		f.AddBatch(1, keys)
		h.Keys += uint64(len(keys))
		h.Positions = append(h.Positions, uint64(shard)*1000+7)
		h.SlotBytes, h.Hashes = f.SlotBytes(), f.Hashes()
		filters[shard] = f
	}
	var b bytes.Buffer
	w, err := NewSnapshotWriter(&b, h)
	if err != nil {
		t.Fatal(err)
	}
	column := make([]byte, h.SlotBytes)
	for _, f := range filters {
		f.ReadSlot(1, 0, column)
		if err := w.WriteShard(column); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), h
}

// goldenKeys are the keys of the golden files.
func goldenKeys(shard int) []uint64 {
	rng := rand.New(rand.NewPCG(42, uint64(shard)))
	keys := []uint64{0, math.MaxUint64}
	for range 30 {
		keys = append(keys, rng.Uint64()<<1)
	}
	return keys
}

func goldenSnapshot(t testing.TB, kind Kind) ([]byte, SnapshotHeader) {
	return takeSnapshot(t, kind, Config{Keys: 100, BitsPerKey: 24, Generations: 8, Hashes: 5}, 2, goldenKeys)
}

func openBytes(b []byte) (*Snapshot, error) {
	return OpenSnapshot(bytes.NewReader(b), int64(len(b)), "test.snap")
}

// readAll opens a snapshot and reads all of it.
func readAll(b []byte) (*Columns, error) {
	s, err := openBytes(b)
	if err != nil {
		return nil, err
	}
	return s.Load()
}

func TestSnapshotRoundTrip(t *testing.T) {
	eachKind(t, func(t *testing.T, kind Kind, generations int) {
		const shards = 3
		rng := rand.New(rand.NewPCG(4, 4))
		keys := make([][]uint64, shards)
		for shard := range keys {
			for range 2000 + shard {
				keys[shard] = append(keys[shard], rng.Uint64()<<2)
			}
		}
		c := Config{Keys: uint64(2000 * generations), BitsPerKey: 16, Generations: generations}
		b, h := takeSnapshot(t, kind, c, shards, func(shard int) []uint64 { return keys[shard] })
		s, err := openBytes(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(s.Header(), h) {
			t.Fatalf("header %+v, written %+v", s.Header(), h)
		}
		columns, err := s.Load()
		if err != nil {
			t.Fatal(err)
		}
		column := make([]byte, 0, h.SlotBytes)
		absent, found := 0, 0
		for shard := range shards {
			f := open(t, kind, c)
			into, err := s.ReadShard(shard, column)
			if err != nil || &into[0] != &column[:1][0] {
				t.Fatalf("ReadShard: %v, or it did not use the given buffer", err)
			}
			f.MergeSlot(0, 0, into)
			for _, order := range keys[shard] {
				if !columns.Maybe(shard, order) || f.Maybe(order) != 1 {
					t.Fatalf("shard %d misses %#x", shard, order)
				}
			}
			for range 20_000 {
				order := rng.Uint64()
				maybe := f.Maybe(order) == 1
				if columns.Maybe(shard, order) != maybe {
					t.Fatalf("columns and filter differ on %#x", order)
				}
				absent++
				found += int(one(maybe))
			}
		}
		rate := float64(found) / float64(absent)
		if want := columns.Rate(); math.Abs(rate-want) > 5*math.Sqrt(want/float64(absent))+0.02*want {
			t.Errorf("rate %v, Rate() is %v", rate, want)
		}
		if columns.Bytes() != int64(shards*h.SlotBytes) {
			t.Errorf("Bytes is %d", columns.Bytes())
		}
		inUse, held := mem.InUse(), columns.Bytes()
		columns.Close()
		if freed := inUse - mem.InUse(); freed != held {
			t.Errorf("Close freed %d bytes of %d", freed, held)
		}
	})
}

// TestSnapshotGolden pins the format and the places that keys have in it.
func TestSnapshotGolden(t *testing.T) {
	for _, kind := range []Kind{Sliced, Compact} {
		path := filepath.Join("testdata", fmt.Sprintf("snapshot-v1-%v.golden", kind))
		b, _ := goldenSnapshot(t, kind)
		if *update {
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, golden) {
			t.Errorf("%s: the same keys are written as other bytes now", path)
		}
		columns, err := readAll(golden)
		if err != nil {
			t.Fatal(err)
		}
		for shard := range 2 {
			for _, order := range goldenKeys(shard) {
				if !columns.Maybe(shard, order) {
					t.Errorf("%s: shard %d misses %#x", path, shard, order)
				}
			}
		}
		columns.Close()
	}
}
