package partitioned_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/adapters/kafka/marks"
	"github.com/firstseen/firstseen/internal/servertest"
)

// TestFollow: marks of just now are made in the open directory, older ones at their own
// time, and what is in the directory but maybe not durable is read again by the next start.
func TestFollow(t *testing.T) {
	brokers := servertest.Shared(t, servertest.Kafka).Env("KAFKA_BROKERS")
	topic, dir := newTopicsOf(t, brokers, 1), filepath.Join(t.TempDir(), "d")
	out, producer := readOutput(t, brokers, topic), client(t, brokers)
	n := startGrower(t, brokers, topic, dir)
	n.ready(t, 1)
	send(t, producer, topic, []string{"first"})
	out.until(t, 1, time.Minute)
	n.stop(t)
	file := filepath.Join(dir, topic+"-0.position")
	for i, c := range []struct {
		age   time.Duration
		opens int
	}{
		{time.Minute, 1},
		{time.Hour, 3}, // to look, to load, to stay
	} {
		value, _ := marks.Append(nil, time.Now().Add(-c.age), [][]byte{fmt.Append(nil, "marked-", i)}, 1000)
		if err := producer.ProduceSync(t.Context(), &kgo.Record{Topic: topic + "-marks", Value: value}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		n := startGrower(t, brokers, topic, dir)
		n.ready(t, 1)
		if opens := n.log.count("firstseen opened"); opens != c.opens {
			t.Errorf("marks of %v ago: the directory was opened %d times, want %d", c.age, opens, c.opens)
		}
		after, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if same := bytes.Equal(before, after); same != (c.opens == 1) {
			t.Errorf("marks of %v ago: the position was %s and is %s", c.age, before, after)
		}
		send(t, producer, topic, []string{"first", fmt.Sprint("marked-", i), fmt.Sprint("new-", i)})
		out.until(t, 2+i, time.Minute)
		if s := n.stop(t); s.Fresh != 1 || s.Duplicate != 2 || s.LoadedKeys != 1 || s.Gaps != 0 {
			t.Errorf("marks of %v ago: %+v", c.age, s)
		}
	}
}
