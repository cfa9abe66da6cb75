package engine

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

func mixKey(i uint64) []byte {
	k := make([]byte, 16)
	x := i*0x9e3779b97f4a7c15 + 0x1234567
	x ^= x >> 29
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 32
	binary.LittleEndian.PutUint64(k, x)
	binary.LittleEndian.PutUint64(k[8:], i)
	return k
}

func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	e, err := Open(dir, Options{Window: time.Hour, Capacity: 2_000_000, Sync: SyncInterval})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	start := time.Now()
	const n = 2_000_000
	var vs []dedup.Verdict
	keys := make([][]byte, 0, 1000)
	for pass := range 2 {
		want := dedup.Fresh
		if pass == 1 {
			want = dedup.Duplicate
		}
		for i := uint64(0); i < n; {
			keys = keys[:0]
			for len(keys) < 1000 {
				keys = append(keys, mixKey(i))
				i++
			}
			vs, err = e.AdmitBatch(ctx, vs[:0], keys)
			if err != nil {
				t.Fatal(err)
			}
			for j, v := range vs {
				if v != want {
					t.Fatalf("pass %d key %d: %v", pass, int(i)-1000+j, v)
				}
			}
		}
		t.Logf("pass %d: %v", pass, time.Since(start))
		if pass == 0 {
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			t0 := time.Now()
			e, err = Open(dir, Options{Window: time.Hour, Capacity: 2_000_000, Sync: SyncInterval})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("reopen %v %+v", time.Since(t0), e.recovery)
			start = time.Now()
		}
	}
	t.Logf("%+v", e.Stats())
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}
