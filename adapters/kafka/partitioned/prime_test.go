package partitioned_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/adapters/kafka/partitioned"
	"github.com/firstseen/firstseen/engine"
	"github.com/firstseen/firstseen/internal/servertest"
)

// TestPrime: what an output holds, or what the group had handled of the input, does
// not pass in the first window, and everything else does.
func TestPrime(t *testing.T) {
	brokers := servertest.Shared(t, servertest.Kafka).Env("KAFKA_BROKERS")
	for name, from := range map[string]string{"output": "-out", "input": ""} {
		t.Run(name, func(t *testing.T) {
			topic := newTopics(t, brokers)
			producer, adm := client(t, brokers), kadm.NewClient(client(t, brokers))
			keys := keysOf(400)
			old := make([]*kgo.Record, 300)
			for i := range old {
				old[i] = &kgo.Record{Topic: topic + from, Key: []byte(keys[i]), Timestamp: time.Now().Add(-time.Hour)}
			}
			old[0].Timestamp = time.Now().Add(-48 * time.Hour) // before the window
			if err := producer.ProduceSync(t.Context(), old...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			o := partitioned.Options{Input: topic, Output: topic + "-out", Group: topic, Client: []kgo.Opt{kgo.SeedBrokers(brokers)},
				Engine: engine.Options{Window: 24 * time.Hour}}
			if from == "" {
				if _, err := partitioned.Prime(t.Context(), o, topic); err == nil || !strings.Contains(err.Error(), "has committed no offset") {
					t.Fatalf("a group that handled nothing: %v", err)
				}
				ends, err := adm.ListEndOffsets(t.Context(), topic)
				if err != nil {
					t.Fatal(err)
				}
				if err := adm.CommitAllOffsets(t.Context(), topic, ends.Offsets()); err != nil {
					t.Fatal(err)
				}
			}
			stats, err := partitioned.Prime(t.Context(), o, topic+from)
			if err != nil || stats.Keys < 299 || stats.Keys > 300 || stats.NoKey != 0 {
				t.Fatalf("%+v, %v", stats, err)
			}
			n, err := order{Brokers: brokers, Topic: topic, Dir: filepath.Join(t.TempDir(), "d"), ID: topic}.node()
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- n.Run(ctx) }() // ends with cancel
			send(t, producer, topic, keys)
			out := readOutput(t, brokers, topic)
			out.drain(t, brokers, topic)
			if _, err := partitioned.Prime(t.Context(), o, topic+from); err == nil || !strings.Contains(err.Error(), "members") {
				t.Errorf("a group that runs: %v", err)
			}
			cancel()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			// The key before the window may have been loaded with others of its record.
			if s := n.Stats(); s.Fresh < 100 || s.Fresh > 101 || s.Fresh+s.Duplicate != 400 || s.LoadedKeys != stats.Keys {
				t.Errorf("%+v after %+v", s, stats)
			}
			for _, key := range keys[300:] {
				if out.counts[key] != 1 {
					t.Errorf("%q is in the output %d times", key, out.counts[key])
				}
			}
		})
	}
}
