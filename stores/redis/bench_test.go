package redisstore

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/servertest"
)

var benchKeys atomic.Uint64

// newKeys fills keys with 16 bytes that no other call gets, and the first share of
// them with keys of the call before.
func newKeys(keys [][]byte, dup int) {
	for i := range keys {
		if i < dup && keys[i] != nil {
			copy(keys[i], keys[len(keys)-1-i])
			continue
		}
		keys[i] = binary.BigEndian.AppendUint64(make([]byte, 8, 16), benchKeys.Add(1)*0x9e3779b97f4a7c15)
	}
}

// BenchmarkClaims: claims of new keys beside a plain SET NX EX of each in one pipeline.
func BenchmarkClaims(b *testing.B) {
	client := clientOf(b, servertest.Start(b, servertest.Redis))
	s := open(b, client, Options{Lease: time.Hour})
	for _, n := range []int{1, 100, 1000} {
		keys := make([][]byte, n)
		run := func(name string, call func() int) {
			b.Run(fmt.Sprintf("by=%s/batch=%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					newKeys(keys, 0)
					if fresh := call(); fresh != n {
						b.Fatalf("%d of %d new keys are fresh", fresh, n)
					}
				}
				b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "keys/s")
			})
			if err := client.FlushAll(ctx).Err(); err != nil {
				b.Fatal(err)
			}
			_ = s.watch.found("the benchmark flushed")
			s.AcceptGap()
		}
		var cs []dedup.Claim
		claims := func() (fresh int) {
			var err error
			if cs, err = s.ClaimBatch(ctx, cs[:0], keys); err != nil {
				b.Fatal(err)
			}
			for i := range cs {
				if cs[i].Verdict == dedup.Fresh {
					fresh++
				}
			}
			return fresh
		}
		plain := func() (fresh int) {
			pipe := client.Pipeline()
			answers := make([]*redis.BoolCmd, n)
			for i, key := range keys {
				answers[i] = pipe.SetNX(ctx, string(key), "1", time.Hour)
			}
			if _, err := pipe.Exec(ctx); err != nil {
				b.Fatal(err)
			}
			for _, a := range answers {
				if a.Val() {
					fresh++
				}
			}
			return fresh
		}
		run("setnx", plain)
		run("claim", claims)
		run("setnx2", plain)
		run("claim2", claims)
	}
}
