//go:build unix

package redisstore

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"sync/atomic"
	"syscall"
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
				server, mine := serverCPU(b, client), ownCPU()
				for b.Loop() {
					newKeys(keys, 0)
					if fresh := call(); fresh != n {
						b.Fatalf("%d of %d new keys are fresh", fresh, n)
					}
				}
				b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "keys/s")
				b.ReportMetric(float64((serverCPU(b, client)-server).Nanoseconds())/float64(b.N*n), "server-ns/key")
				b.ReportMetric(float64((ownCPU()-mine).Nanoseconds())/float64(b.N*n), "client-ns/key")
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

// serverCPU is the processor time that the server has used. Other load on the machine
// does not count.
func serverCPU(b *testing.B, c *redis.Client) time.Duration {
	b.Helper()
	info := parseInfo(c.Info(ctx, "cpu").Val())
	user, err := strconv.ParseFloat(info["used_cpu_user"], 64)
	if err != nil {
		b.Fatal(err)
	}
	sys, err := strconv.ParseFloat(info["used_cpu_sys"], 64)
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration((user + sys) * float64(time.Second))
}

// ownCPU is the processor time of this process, with the making of the keys.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
