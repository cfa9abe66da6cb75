package partitioned_test

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/internal/servertest"
)

// endTxn is the key of Kafka's request that ends a transaction.
const endTxn = 26

// A killer ends its process at the moment when the broker says that a transaction has
// ended: before anything else learns of it.
type killer struct {
	at   int64 // 0: never
	seen atomic.Int64
}

// OnBrokerRead implements kgo.HookBrokerRead.
func (k *killer) OnBrokerRead(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, err error) {
	if key == endTxn && err == nil && k.seen.Add(1) == k.at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// TestKilledAfterCommit: a process that dies between the commit of a transaction and
// its own marks has forgotten nothing, with its directory and without.
func TestKilledAfterCommit(t *testing.T) {
	brokers := servertest.Shared(t, servertest.Kafka).Env("KAFKA_BROKERS")
	for _, c := range []struct {
		name string
		lose bool
	}{
		{"with its directory", false},
		{"without its directory", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			topic := newTopics(t, brokers)
			o := order{Brokers: brokers, Topic: topic, Dir: filepath.Join(t.TempDir(), "d"), ID: topic, KillAt: 2}
			keys := keysOf(2 * batch)
			producer, out := client(t, brokers), readOutput(t, brokers, topic)
			send(t, producer, topic, keys)
			<-o.spawn(t).exited
			if c.lose {
				if err := os.RemoveAll(o.Dir); err != nil {
					t.Fatal(err)
				}
			}
			o.KillAt = 0
			next := o.spawn(t)
			send(t, producer, topic, keys)
			out.until(t, len(keys), time.Minute)
			out.drain(t, brokers, topic)
			_ = next.cmd.Process.Signal(syscall.SIGTERM)
			if err := <-next.exited; err != nil {
				t.Errorf("the second process: %v", err)
			}
			twice := 0
			for _, n := range out.counts {
				if n > 1 {
					twice++
				}
			}
			if len(out.counts) != len(keys) || twice > 0 {
				t.Errorf("%d of %d keys are in the output, %d of them twice", len(out.counts), len(keys), twice)
			}
		})
	}
}
