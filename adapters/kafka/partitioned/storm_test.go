package partitioned_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/firstseen/firstseen/internal/servertest"
)

// A storm is a group of processes that something keeps happening to.
type storm struct {
	t       *testing.T
	brokers string
	topic   string
	root    string
	random  *rand.Rand
	running []*copier
	started int
	done    map[string]int
}

// start starts a process in a slot, with a directory of its own or an earlier one.
func (s *storm) start(slot int, dir string) *copier {
	if dir == "" {
		s.started++
		dir = filepath.Join(s.root, fmt.Sprint("dir", s.started))
	}
	return order{Brokers: s.brokers, Topic: s.topic, Dir: dir, ID: fmt.Sprintf("%s-%d", s.topic, slot), Abort: 0.03}.spawn(s.t)
}

// strike has something happen to one of the processes.
func (s *storm) strike() {
	s.t.Helper()
	slot := s.random.IntN(len(s.running))
	c := s.running[slot]
	switch what := s.random.IntN(10); {
	case what < 5: // it leaves, and comes back
		s.stop(c)
		s.running[slot] = s.start(slot, c.dir)
		s.done["left and came back"]++
	case what < 7:
		s.kill(c)
		s.running[slot] = s.start(slot, c.dir)
		s.done["killed"]++
	default:
		s.kill(c)
		if err := os.RemoveAll(c.dir); err != nil {
			s.t.Fatal(err)
		}
		s.running[slot] = s.start(slot, "")
		s.done["killed, and lost its directory"]++
	}
}

func (s *storm) kill(c *copier) {
	_ = c.cmd.Process.Kill()
	<-c.exited
}

func (s *storm) stop(c *copier) {
	s.t.Helper()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	if err := <-c.exited; err != nil {
		s.t.Errorf("a process that was told to stop: %v", err)
	}
}

// said returns what the processes logged: the group's last generation, and how often
// each of the texts comes.
func (s *storm) said(texts ...string) (generation int, times []int) {
	s.t.Helper()
	log, err := os.ReadFile(filepath.Join(s.root, "log"))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`assigned generation=(\d+)`).FindAllSubmatch(log, -1) {
		n, err := strconv.Atoi(string(m[1]))
		if err != nil {
			s.t.Fatal(err)
		}
		generation = max(generation, n)
	}
	for _, text := range texts {
		times = append(times, len(regexp.MustCompile(text).FindAll(log, -1)))
	}
	return generation, times
}

// TestStorm: while processes leave, come back, are killed with -9 and lose their
// directories, and handlers fail, every key is in the output exactly once.
func TestStorm(t *testing.T) {
	messages, rebalances, copiers := 20_000, 6, 2
	if os.Getenv("FIRSTSEEN_SERVERS") == "long" {
		messages, rebalances, copiers = 1_000_000, 200, 3
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	brokers := servertest.Shared(t, servertest.Kafka).Env("KAFKA_BROKERS")
	s := &storm{t: t, brokers: brokers, topic: newTopics(t, brokers), root: t.TempDir(), random: rand.New(rand.NewPCG(seed, 1)),
		running: make([]*copier, copiers), done: map[string]int{}}
	t.Cleanup(func() {
		if text, err := os.ReadFile(filepath.Join(s.root, "log")); err == nil && t.Failed() {
			t.Logf("the processes' log:\n%s", text[max(0, len(text)-6000):])
		}
	})
	for slot := range s.running {
		s.running[slot] = s.start(slot, "")
	}
	keys := keysOf(messages)
	sent := append([]string(nil), keys...)
	for _, key := range keys {
		if s.random.Float64() < 0.1 {
			sent = append(sent, key)
		}
	}
	s.random.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
	producer, out := client(t, brokers), readOutput(t, brokers, s.topic)
	began, at, part := time.Now(), 0, len(sent)/rebalances
	for generation := 0; generation < rebalances; {
		to := min(len(sent), at+part)
		send(t, producer, s.topic, sent[at:to])
		at = to
		more := 1 // when all is sent and copied, only rebalances are left
		if len(out.counts)+more >= messages*9/10 {
			more = 0
		}
		out.until(t, len(out.counts)+more, time.Minute)
		s.strike()
		giveUp := time.Now().Add(time.Minute)
		for last := generation; generation == last; generation, _ = s.said() {
			if out.poll(t); time.Now().After(giveUp) {
				t.Fatalf("no rebalance after generation %d", last)
			}
		}
	}
	send(t, producer, s.topic, sent[at:])
	out.until(t, messages, time.Minute)
	out.drain(t, brokers, s.topic)
	for _, c := range s.running {
		s.stop(c)
	}
	out.wantOnce(t, keys)
	generation, times := s.said("aborted at random", "partition ready", "the session ended")
	t.Logf("%d keys, %d records in %v; generation %d; %v; %d transactions aborted by handlers, %d loads, %d sessions failed",
		messages, len(sent), time.Since(began).Round(time.Second), generation, s.done, times[0], times[1], times[2])
	if times[0] == 0 && messages > 100_000 {
		t.Error("no transaction was aborted by a handler")
	}
}
