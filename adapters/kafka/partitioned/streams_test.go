package partitioned_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/internal/vfs"
)

// TestFiguresStreams: a node beside Kafka Streams' own deduplication: messages per second,
// what an empty directory takes to be filled again, and what both keep. It takes a JDK,
// and Maven to bring Streams.
func TestFiguresStreams(t *testing.T) {
	brokers, scale := figures(t)
	out, err := exec.Command("../../../scripts/brokers", "streams").Output()
	if err != nil {
		t.Skipf("no Kafka Streams: %v", err)
	}
	jars := strings.TrimSpace(string(out))
	messages := int(1e6 * scale)
	producer := client(t, brokers, kgo.UnknownTopicRetries(-1))
	value := bytes.Repeat([]byte("v"), 100)
	fill := func() string {
		topic := figureTopics(t, brokers, partitions)
		for i := range messages + messages/10 { // a tenth comes twice
			producer.Produce(t.Context(), &kgo.Record{Topic: topic, Key: figureKey(uint64(i % messages)), Value: value}, nil)
		}
		if err := producer.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		return topic
	}
	rate := func(took time.Duration) float64 { return float64(messages+messages/10) / took.Seconds() }

	topic, dir := fill(), filepath.Join(t.TempDir(), "node")
	var watch stopwatch
	n, stop := runNode(t, brokers, topic, dir, partitions, kgo.WithHooks(&watch))
	caughtUp(t, brokers, topic)
	if s := n.Stats(); s.Aborted == 0 && (s.Fresh != uint64(messages) || s.Duplicate != uint64(messages/10)) {
		t.Errorf("the node: %d fresh, %d duplicates", s.Fresh, s.Duplicate)
	}
	stop()
	if n := committed(t, brokers, topic+"-out"); n != messages {
		t.Errorf("the node wrote %d messages of %d", n, messages)
	}
	t.Logf("node: %.0f messages/s; directory %d MB, log of marks %d MB", rate(watch.took()), diskMB(t, dir), topicMB(t, brokers, topic+"-marks"))
	began := time.Now()
	n, stop = runNode(t, brokers, topic, filepath.Join(t.TempDir(), "again"), partitions)
	took, loaded := time.Since(began), n.Stats().LoadedKeys
	stop()
	if loaded < uint64(messages) {
		t.Errorf("the node loaded %d keys of %d", loaded, messages)
	}
	t.Logf("node: an empty directory is filled with %d keys in %v", loaded, took.Round(time.Millisecond))

	topic, dir = fill(), t.TempDir()
	s := startStreams(t, jars, brokers, topic, dir)
	first := s.wait("first") // comes before or after "running"
	caughtUp(t, brokers, topic)
	var at int64
	if _, err := fmt.Sscan(first, &at); err != nil {
		t.Fatal(err)
	}
	streamed := time.Since(time.UnixMilli(at))
	s.stop()
	if n := committed(t, brokers, topic+"-out"); n != messages {
		t.Errorf("Streams wrote %d messages of %d", n, messages)
	}
	t.Logf("Kafka Streams: %.0f messages/s; directory %d MB, log of changes %d MB", rate(streamed), diskMB(t, dir),
		topicMB(t, brokers, topic+"-seen-changelog"))
	s = startStreams(t, jars, brokers, topic, t.TempDir())
	var records, ms int
	if _, err := fmt.Sscan(s.wait("running"), &records, &ms); err != nil {
		t.Fatal(err)
	}
	s.stop()
	if records < messages {
		t.Errorf("Streams restored %d records of %d", records, messages)
	}
	t.Logf("Kafka Streams: an empty directory is filled with %d records in %d ms", records, ms)
}

// caughtUp waits until a group has committed all of its topic.
func caughtUp(t *testing.T, brokers, topic string) {
	t.Helper()
	adm := kadm.NewClient(client(t, brokers))
	for {
		behind, err := lag(t.Context(), adm, topic)
		if err != nil {
			t.Fatal(err)
		}
		if behind == 0 {
			return
		}
		<-time.After(10 * time.Millisecond)
	}
}

// committed counts the records of a topic that a reader of what is committed gets.
func committed(t *testing.T, brokers, topic string) (n int) {
	t.Helper()
	cl := client(t, brokers, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		got := cl.PollFetches(ctx).NumRecords()
		cancel()
		if n += got; got == 0 {
			return n
		}
	}
}

func diskMB(t *testing.T, dir string) int64 {
	t.Helper()
	n, err := vfs.DiskBytes(dir)
	if err != nil {
		t.Fatal(err)
	}
	return n >> 20
}

func topicMB(t *testing.T, brokers, topic string) (n int64) {
	t.Helper()
	dirs, err := kadm.NewClient(client(t, brokers)).DescribeAllLogDirs(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	dirs.Each(func(d kadm.DescribedLogDir) {
		d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
			if p.Topic == topic {
				n += p.Size
			}
		})
	})
	return n >> 20
}

// streamsProcess is a running StreamsDedup.
type streamsProcess struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.Closer
	lines *bufio.Scanner
}

func startStreams(t *testing.T, jars, brokers, topic, dir string) *streamsProcess {
	t.Helper()
	cmd := exec.Command("java", "-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", jars+"/*", "testdata/StreamsDedup.java", brokers, topic, topic+"-out", topic, dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return &streamsProcess{t, cmd, in, bufio.NewScanner(out)}
}

// wait returns what follows a word at the beginning of the next line that has it, and
// passes over others.
func (s *streamsProcess) wait(word string) string {
	s.t.Helper()
	for s.lines.Scan() {
		if rest, ok := strings.CutPrefix(s.lines.Text(), word+" "); ok {
			return rest
		}
	}
	s.t.Fatalf("Kafka Streams ended before it said %q", word)
	return ""
}

func (s *streamsProcess) stop() {
	s.t.Helper()
	_ = s.in.Close()
	if err := s.cmd.Wait(); err != nil {
		s.t.Fatalf("Kafka Streams: %v", err)
	}
}
