package partitioned_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/adapters/adaptertest"
	"github.com/firstseen/firstseen/adapters/kafka/partitioned"
	"github.com/firstseen/firstseen/engine"
	"github.com/firstseen/firstseen/internal/servertest"
)

const (
	partitions = 4
	batch      = 300
	childEnv   = "FIRSTSEEN_PARTITIONED_CHILD"
)

// An order is what a child process copies, and how it goes wrong.
type order struct {
	Brokers, Topic, Dir, ID string
	Abort                   float64 // share of the transactions that a handler's error aborts
	KillAt                  int     // kill -9 as soon as the broker has committed so many transactions
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := child(text); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	adaptertest.Main(servertest.With(m), effects)
}

func child(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	fmt.Println("a stop is heard from here on")
	n, err := o.node()
	if err != nil {
		return err
	}
	return n.Run(ctx)
}

func (o order) node() (*partitioned.Node, error) {
	handle := func(_ context.Context, r *kgo.Record) ([]*kgo.Record, error) {
		if rand.Float64() < o.Abort/batch {
			return nil, errors.New("aborted at random")
		}
		return []*kgo.Record{{Key: r.Key, Value: r.Value}}, nil
	}
	return partitioned.New(partitioned.Options{
		Handle: handle,
		Dir:    o.Dir, Input: o.Topic, Output: o.Topic + "-out", Group: o.Topic, TransactionalID: o.ID, Batch: batch,
		Client: []kgo.Opt{kgo.SeedBrokers(o.Brokers), kgo.WithHooks(&killer{at: int64(o.KillAt)}), kgo.SessionTimeout(6 * time.Second), kgo.HeartbeatInterval(300 * time.Millisecond),
			kgo.TransactionTimeout(10 * time.Second), kgo.MetadataMinAge(250 * time.Millisecond), kgo.FetchMaxWait(200 * time.Millisecond)},
		Engine: engine.Options{Window: 24 * time.Hour, Sync: engine.SyncInterval, Capacity: 100_000, Shards: 1, MinFreeDisk: -1},
	})
}

// A copier is a child process.
type copier struct {
	cmd    *exec.Cmd
	exited chan error
	dir    string
}

func (o order) spawn(t *testing.T) *copier {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	c := &copier{cmd: exec.Command(os.Args[0]), exited: make(chan error, 1), dir: o.Dir}
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	log, err := os.OpenFile(filepath.Join(filepath.Dir(o.Dir), "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	c.cmd.Stderr = log
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// A stop that came sooner would end it by the signal, on a busy machine.
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal("a process that was just started: ", err)
	}
	go func() { c.exited <- c.cmd.Wait(); log.Close() }() // ends with the process
	t.Cleanup(func() { _ = c.cmd.Process.Kill() })
	return c
}

var topics atomic.Int64

func newTopics(t testing.TB, brokers string) string {
	t.Helper()
	return newTopicsOf(t, brokers, partitions)
}

func newTopicsOf(t testing.TB, brokers string, partitions int32) string {
	t.Helper()
	name := fmt.Sprintf("p%d-%d", os.Getpid(), topics.Add(1))
	adm := kadm.NewClient(client(t, brokers))
	for _, topic := range []string{name, name + "-out"} {
		if _, err := adm.CreateTopic(t.Context(), partitions, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	return name
}

func client(t testing.TB, brokers string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(brokers))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// An output is the output topic as far as it was read, committed records only.
type output struct {
	cl     *kgo.Client
	counts map[string]int
	last   time.Time
}

func readOutput(t *testing.T, brokers, topic string) *output {
	t.Helper()
	return &output{counts: map[string]int{}, last: time.Now(), cl: client(t, brokers, kgo.ConsumeTopics(topic+"-out"),
		kgo.MetadataMinAge(250*time.Millisecond), kgo.MetadataMaxAge(time.Second), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))}
}

// until reads until so many different keys are there, or until nothing came for a
// while.
func (o *output) until(t *testing.T, keys int, patience time.Duration) {
	t.Helper()
	o.last = time.Now()
	for len(o.counts) < keys {
		o.poll(t)
		if time.Since(o.last) > patience {
			t.Fatalf("%d of %d keys are in the output, and nothing came for %v", len(o.counts), keys, patience)
		}
	}
}

func (o *output) poll(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	fetches := o.cl.PollFetches(ctx)
	if err := fetches.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	fetches.EachRecord(func(r *kgo.Record) {
		o.counts[string(r.Key)]++
		o.last = time.Now()
	})
}

// drain waits until the group has committed the whole input, and reads the rest.
func (o *output) drain(t *testing.T, brokers, topic string) {
	t.Helper()
	adm := kadm.NewClient(client(t, brokers))
	for giveUp := time.Now().Add(time.Minute); ; o.poll(t) {
		behind, err := lag(t.Context(), adm, topic)
		if err != nil {
			t.Fatal(err)
		}
		if behind == 0 {
			break
		}
		if time.Now().After(giveUp) {
			t.Fatalf("the group is %d records behind the end of the input", behind)
		}
	}
	for quiet := 0; quiet < 3; quiet++ {
		o.poll(t)
	}
}

func (o *output) wantOnce(t *testing.T, keys []string) {
	t.Helper()
	twice := 0
	for _, key := range keys {
		switch n := o.counts[key]; {
		case n == 0:
			t.Errorf("%q is missing from the output", key)
			return
		case n > 1:
			twice++
		}
	}
	if twice > 0 {
		t.Errorf("%d of %d keys are in the output more than once", twice, len(keys))
	}
	if len(o.counts) != len(keys) {
		t.Errorf("%d keys in the output, %d were sent", len(o.counts), len(keys))
	}
}

func send(t testing.TB, cl *kgo.Client, topic string, keys []string) {
	t.Helper()
	rs := make([]*kgo.Record, len(keys))
	for i, key := range keys {
		rs[i] = &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte("v" + key)}
	}
	if err := cl.ProduceSync(t.Context(), rs...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func keysOf(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("key-%07d", i)
	}
	return keys
}

// TestTakeOver: a Node knows what an earlier one marked: with the directory, with an
// older copy of it and without one.
func TestTakeOver(t *testing.T) {
	brokers := servertest.Shared(t, servertest.Kafka).Env("KAFKA_BROKERS")
	topic, dir := newTopics(t, brokers), filepath.Join(t.TempDir(), "d")
	producer, out := client(t, brokers), readOutput(t, brokers, topic)
	keys := keysOf(400)
	o := order{Brokers: brokers, Topic: topic, Dir: dir, ID: topic}
	run := func(keys []string, want int) partitioned.Stats {
		t.Helper()
		n, err := o.node()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }() // ends with cancel
		send(t, producer, topic, keys)
		out.until(t, want, 30*time.Second)
		out.drain(t, brokers, topic)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return n.Stats()
	}
	run(keys[:100], 100)
	old := filepath.Join(t.TempDir(), "old")
	if err := os.CopyFS(old, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if s := run(keys[:200], 200); s.Fresh != 100 || s.Duplicate != 100 || s.LoadedKeys != 0 {
		t.Errorf("with its directory: %+v", s)
	}
	positions, err := filepath.Glob(filepath.Join(dir, "*.position"))
	if err != nil || len(positions) != partitions {
		t.Fatalf("positions %v, %v", positions, err)
	}
	for _, newer := range positions { // an older copy of each directory beside the newer position
		at := strings.TrimSuffix(newer, ".position")
		if err := errors.Join(os.RemoveAll(at), os.CopyFS(at, os.DirFS(filepath.Join(old, filepath.Base(at))))); err != nil {
			t.Fatal(err)
		}
	}
	if s := run(keys[:300], 300); s.Fresh != 100 || s.Duplicate != 200 || s.LoadedKeys != 200 {
		t.Errorf("with an older copy: %+v", s)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if s := run(keys, 400); s.Fresh != 100 || s.Duplicate != 300 || s.LoadedKeys != 300 || s.Gaps != 0 {
		t.Errorf("without its directory: %+v", s)
	}
	out.wantOnce(t, keys)
}

// TestStoppedEarly: a Node that is told to stop before it has begun has not failed.
func TestStoppedEarly(t *testing.T) {
	brokers := servertest.Shared(t, servertest.Kafka).Env("KAFKA_BROKERS")
	topic := newTopics(t, brokers)
	n, err := order{Brokers: brokers, Topic: topic, Dir: t.TempDir(), ID: topic}.node()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Run(ctx); err != nil {
		t.Error(err)
	}
}

// TestBadTopics: what would lose marks is refused.
func TestBadTopics(t *testing.T) {
	brokers := servertest.Shared(t, servertest.Kafka).Env("KAFKA_BROKERS")
	adm := kadm.NewClient(client(t, brokers))
	for name, c := range map[string]struct {
		partitions int32
		configs    map[string]string
		want       string
	}{
		"partitions": {partitions + 1, nil, "5 partitions"},
		"retention":  {partitions, map[string]string{"retention.ms": "1000"}, "retention.ms=1000"},
		"compacted":  {partitions, map[string]string{"cleanup.policy": "compact"}, "cleanup.policy=compact"},
		"size":       {partitions, map[string]string{"retention.bytes": "1000000"}, "retention.bytes=1000000"},
	} {
		t.Run(name, func(t *testing.T) {
			topic, configs := newTopics(t, brokers), map[string]*string{}
			for key, v := range c.configs {
				configs[key] = &v
			}
			if _, err := adm.CreateTopic(t.Context(), c.partitions, 1, configs, topic+"-marks"); err != nil {
				t.Fatal(err)
			}
			n, err := order{Brokers: brokers, Topic: topic, Dir: t.TempDir(), ID: topic}.node()
			if err != nil {
				t.Fatal(err)
			}
			if err := n.Run(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Run: %v, want %q", err, c.want)
			}
		})
	}
	if _, err := partitioned.New(partitioned.Options{Batch: -1}); err == nil || !strings.Contains(err.Error(), "Engine.Window") ||
		!strings.Contains(err.Error(), "Batch") {
		t.Errorf("New: %v", err)
	}
}
