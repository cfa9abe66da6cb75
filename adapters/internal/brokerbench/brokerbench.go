// Package brokerbench measures how much of a broker's throughput an adapter keeps with
// deduplication: messages through its Run with an empty handler, without the guard
// and with it, at the same concurrency. Both forms consume messages that lie in the broker
// before the clock runs.
package brokerbench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// consumers is how many calls of Run there are at once.
const consumers = 4

// sendBatch is how many messages are sent in one call.
const sendBatch = 1000

// A Bed is one measurement: b.N messages, of which every tenth is sent twice.
type Bed struct {
	Off   bool // no guard is asked
	Guard dedup.Guard
	*run
}

type run struct {
	b      *testing.B
	keys   []string
	sent   int
	cancel context.CancelFunc

	mu      sync.Mutex
	effects map[string]int // guarded by mu
	handled int            // guarded by mu
	want    int            // how many effects end the measurement
}

// Run runs the benchmark in both forms. open opens the guard; measure uses Send,
// then Consume of its Bed. The effects of every key are counted.
func Run(b *testing.B, open func(dir string, lease time.Duration) (dedup.Guard, func() error, error), measure func(*testing.B, Bed)) {
	for _, off := range []bool{true, false} {
		name := "dedup=on"
		if off {
			name = "dedup=off"
		}
		b.Run(name, func(b *testing.B) {
			g, closeGuard, err := open(b.TempDir(), time.Minute)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = closeGuard() }()
			r := &run{b: b, keys: make([]string, b.N), effects: make(map[string]int, b.N), want: b.N}
			for i := range r.keys {
				r.keys[i] = fmt.Sprintf("key-%010d", i)
			}
			if off {
				r.want += (b.N + 9) / 10
			}
			measure(b, Bed{Off: off, Guard: g, run: r})
			r.check(off)
		})
	}
}

// Send sends all messages.
func (r *run) Send(send func(keys []string)) {
	var batch []string
	for i, key := range r.keys {
		batch = append(batch, key)
		if i%10 == 0 {
			batch = append(batch, key)
		}
		if len(batch) >= sendBatch || i == len(r.keys)-1 {
			send(batch)
			r.sent += len(batch)
			batch = batch[:0]
		}
	}
}

// Consume has several calls of consume going until every effect has happened; only
// that is measured.
func (r *run) Consume(consume func(ctx context.Context) error) {
	ctx, cancel := context.WithCancel(r.b.Context())
	r.cancel = cancel
	defer cancel()
	r.b.ResetTimer()
	begin := time.Now()
	errs := make([]error, consumers)
	var running sync.WaitGroup
	for i := range errs {
		running.Go(func() { errs[i] = consume(ctx) })
	}
	<-ctx.Done()
	took := time.Since(begin)
	r.b.StopTimer()
	running.Wait()
	if err := errors.Join(errs...); err != nil {
		r.b.Fatal(err)
	}
	r.b.ReportMetric(float64(r.sent)/took.Seconds(), "messages/s")
}

// Handle is the handler: it notes the effect.
func (r *run) Handle(key string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.effects[key]++
	if r.handled++; r.handled == r.want {
		r.cancel()
	}
	return nil
}

// check wants one effect of every key, and without a guard another one of those that
// were sent twice.
func (r *run) check(off bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, key := range r.keys {
		want := 1
		if off && i%10 == 0 {
			want = 2
		}
		if n := r.effects[key]; n != want {
			r.b.Fatalf("%s had %d effects, want %d", key, n, want)
		}
	}
}
