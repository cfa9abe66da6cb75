// Package rockettest is what the tests of both RocketMQ adapters do alike, whatever
// their client: topics, messages sent at once, the forms in which the suites and storms
// run, and the clock of the throughput benchmarks. All functions may be called by
// several tests at once.
package rockettest

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firstseen/firstseen/adapters/adaptertest"
	"github.com/firstseen/firstseen/adapters/internal/rocketadmin"
	"github.com/firstseen/firstseen/internal/servertest"
)

var topics atomic.Int64

// NewTopic makes a topic and a group of its own name on the shared broker. It returns
// the address that servertest's variable has, a space and the name.
func NewTopic(t testing.TB, variable string) string {
	t.Helper()
	s := servertest.Shared(t, servertest.RocketMQ)
	name := fmt.Sprintf("t%d-%d", os.Getpid(), topics.Add(1))
	broker := s.Env("ROCKETMQ_BROKER")
	err := errors.Join(rocketadmin.Topic(broker, name, "NORMAL"), rocketadmin.Group(broker, name, false, 16))
	if err == nil {
		err = rocketadmin.AwaitRoute(s.Env("ROCKETMQ_NAMESRV"), name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s.Env(variable) + " " + name
}

// Produce sends a few keys in their order, and many from so many senders at once.
func Produce(t testing.TB, senders int, keys []string, send func(key string) error) {
	t.Helper()
	if len(keys) <= 200 {
		senders = 1
	}
	next := make(chan string)
	var sending sync.WaitGroup
	for range senders {
		sending.Go(func() {
			for key := range next {
				if err := send(key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, key := range keys {
		next <- key
	}
	close(next)
	sending.Wait()
}

// Long says whether the tests run in their long form.
func Long() bool { return os.Getenv("FIRSTSEEN_SERVERS") == "long" }

// NeedsBroker leaves a test, which takes minutes, to make servers.
func NeedsBroker(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("!!! SKIPPED with -short: make servers runs it on a real broker")
	}
}

// Suites runs the whole suite with all configurations in the long form. In the short
// one the first, that with the engine, runs the cases ofEngine, or all where there are
// none, and the others run few.
func Suites(t *testing.T, configs []adaptertest.Config, few, ofEngine []string) {
	t.Parallel()
	NeedsBroker(t)
	for i, c := range configs {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			switch {
			case Long():
				adaptertest.Run(t, c)
			case i == 0:
				adaptertest.Run(t, c, ofEngine...)
			default:
				adaptertest.Run(t, c, few...)
			}
		})
	}
}

// LongStorms runs a storm of 100,000 messages, or FIRSTSEEN_STORM of them, and 20
// kills with each configuration.
func LongStorms(t *testing.T, configs ...adaptertest.Config) {
	s := adaptertest.Storm{Messages: 100_000, Kills: 20, Batch: 2000}
	if n, err := strconv.Atoi(os.Getenv("FIRSTSEEN_STORM")); err == nil {
		s.Messages = n
	}
	for _, c := range configs {
		t.Run(c.Name, func(t *testing.T) { adaptertest.RunStorm(t, c, s) })
	}
}

// Keys returns n different keys.
func Keys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprint("k", i)
	}
	return keys
}

// Measure reports messages per second, from the first ones handled, since the client's
// start isn't measured, until b.N are.
func Measure(b *testing.B, handled *atomic.Int64) {
	b.Helper()
	until := func(n int64) {
		for handled.Load() < n {
			<-time.After(time.Millisecond)
		}
	}
	until(1)
	b.ResetTimer()
	from, first := time.Now(), handled.Load()
	until(int64(b.N))
	b.StopTimer()
	b.ReportMetric(float64(int64(b.N)-first)/time.Since(from).Seconds(), "msg/s")
	b.ReportMetric(0, "ns/op")
}
