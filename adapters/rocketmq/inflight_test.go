package rocketmq_test

import (
	"context"
	"sync"
	"testing"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/adapters/internal/rockettest"
	"github.com/firstseen/firstseen/adapters/rocketmq"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/testguards"
)

// TestHole12InFlightWithoutATime: a message whose key another one holds comes again
// when that lease ends, without spending attempts on asking; a push listener, which
// can't be given a time, waits for the holder instead.
func TestHole12InFlightWithoutATime(t *testing.T) {
	rockettest.NeedsBroker(t)
	t.Parallel()
	const lease = 12 * time.Second
	for name, consumes := range map[string]func(t *testing.T, address string, a *rocketmq.Adapter, h rocketmq.Handler){
		"simple": func(t *testing.T, address string, a *rocketmq.Adapter, h rocketmq.Handler) {
			sc, err := startSimple(address)
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(context.Background())
			var running sync.WaitGroup
			running.Go(func() { _ = a.Run(ctx, sc, h) })
			t.Cleanup(func() { stop(); running.Wait(); _ = sc.GracefulStop() })
		},
		"push": func(t *testing.T, address string, a *rocketmq.Adapter, h rocketmq.Handler) {
			pc, err := startPush(address, a.Listener(h))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = pc.GracefulStop() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, closeGuard, err := testguards.OpenEngine(t.TempDir(), lease)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = closeGuard() })
			a, err := rocketmq.New(g, options())
			if err != nil {
				t.Fatal(err)
			}
			address := newTopic(t)
			_, topic := config(address)
			produce(t, address, "k")
			key := consume.JoinedKey(nil, consume.Scope{Application: "test", Topic: topic}, []byte("k"))
			type delivery struct {
				at      time.Time
				attempt int32
			}
			deliveries := make(chan delivery, 16)
			c, err := g.Claim(context.Background(), key)
			if err != nil || c.Verdict != dedup.Fresh {
				t.Fatalf("the holder's claim is %v, %v", c.Verdict, err)
			}
			consumes(t, address, a, func(_ context.Context, m *rmq.MessageView) error {
				deliveries <- delivery{time.Now(), m.GetDeliveryAttempt()}
				return nil
			})
			for giveUp := time.Now().Add(2 * time.Minute); !met(a); { // then the holder dies: its lease is extended no more
				if time.Now().After(giveUp) {
					t.Fatal("the message did not come in two minutes")
				}
				if c, err = g.Extend(context.Background(), c, lease); err != nil {
					t.Fatal(err)
				}
				<-time.After(50 * time.Millisecond)
			}
			select {
			case d := <-deliveries:
				if early := c.Expires.Sub(d.at); early > 100*time.Millisecond {
					t.Errorf("handled %v before the holder's lease ended", early)
				}
				// One that met the holder, and with a simple consumer one after it.
				if want := map[string]int32{"simple": 2, "push": 1}[name]; d.attempt != want {
					t.Errorf("it took %d attempts, want %d", d.attempt, want)
				}
			case <-time.After(2 * time.Minute):
				t.Fatal("not handled in two minutes")
			}
		})
	}
}

// met: the message has met its holder.
func met(a *rocketmq.Adapter) bool {
	for _, c := range a.Consumer().Snapshot() {
		if c.InFlight+c.Waited > 0 {
			return true
		}
	}
	return false
}
