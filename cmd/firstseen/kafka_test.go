package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firstseen/firstseen/adapters/kafka/partitioned"
	"github.com/firstseen/firstseen/internal/servertest"
)

const kafkaPartitions = 4

// kafkaTopics makes the topics NAME, NAME-once and NAME-again.
func kafkaTopics(t *testing.T, brokers, name string) {
	t.Helper()
	adm := kadm.NewClient(kafkaClient(t, brokers))
	for _, topic := range []string{name, name + "-once", name + "-again"} {
		if _, err := adm.CreateTopic(t.Context(), kafkaPartitions, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
}

func kafkaClient(t *testing.T, brokers string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(brokers))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// kafkaRecords returns n records with a key each, the header id the same, every
// tenth of them twice.
func kafkaRecords(topic string, n int) (rs []*kgo.Record) {
	at := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	for i := range n + n/10 {
		id := fmt.Sprintf("id-%05d", i%n)
		rs = append(rs, &kgo.Record{
			Topic: topic, Key: []byte(id), Value: []byte(`{"event":{"id":"` + id + `"}}`), Timestamp: at.Add(time.Duration(i) * time.Millisecond),
			Headers: []kgo.RecordHeader{{Key: "id", Value: []byte(id)}, {Key: "n", Value: []byte(strconv.Itoa(i))}},
		})
	}
	return rs
}

// readKafka reads n committed records of a topic, and reports more than that, too.
func readKafka(t *testing.T, brokers, topic string, n int) (got []*kgo.Record) {
	t.Helper()
	cl := kafkaClient(t, brokers, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for quiet, giveUp := 0, time.Now().Add(90*time.Second); len(got) < n || quiet < 2; quiet++ {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		fetches := cl.PollFetches(ctx)
		cancel()
		if err := fetches.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if got = append(got, fetches.Records()...); fetches.NumRecords() > 0 {
			quiet = 0
		}
		if time.Now().After(giveUp) {
			t.Fatalf("%d of %d records in %s", len(got), n, topic)
		}
	}
	if len(got) != n {
		t.Errorf("%d records in %s, want %d", len(got), topic, n)
	}
	return got
}

// A kafkaNode is a command that runs until it is stopped.
type kafkaNode struct {
	cmd     *exec.Cmd
	metrics string
	log     *strings.Builder
	done    chan struct{}
}

func startKafka(t *testing.T, args ...string) *kafkaNode {
	t.Helper()
	n := &kafkaNode{cmd: command(t, append([]string{"kafka", "--stats", "--listen", "127.0.0.1:0"}, args...)...),
		log: &strings.Builder{}, done: make(chan struct{})}
	pipe, err := n.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.cmd.Process.Kill() })
	lines := bufio.NewReader(pipe)
	first, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("%q, %v", first, err)
	}
	n.metrics = strings.TrimSpace(first[strings.LastIndex(first, " "):])
	go func() { // ends with the process
		defer close(n.done)
		_, _ = io.Copy(n.log, lines)
	}()
	return n
}

// stop asks the command to end, and returns its counts.
func (n *kafkaNode) stop(t *testing.T) (s partitioned.Stats) {
	t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-n.done
	if code := exitCode(t, n.cmd.Wait()); code != 0 {
		t.Errorf("after SIGTERM the exit code is %d\n%s", code, n.log)
	}
	text := strings.TrimSpace(n.log.String())
	if err := json.Unmarshal([]byte(text[strings.LastIndex(text, "\n")+1:]), &s); err != nil {
		t.Errorf("the counts: %v\n%s", err, text)
	}
	return s
}

// scrape returns the sum of a counter's series.
func (n *kafkaNode) scrape(t *testing.T, series string) (sum float64) {
	t.Helper()
	r, err := http.Get(n.metrics)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(series)+`[^ ]* (.*)$`).FindAllSubmatch(text, -1)
	if len(found) == 0 {
		t.Errorf("no %s in\n%.2000s", series, text)
	}
	for _, m := range found {
		v, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += v
	}
	return sum
}

// TestKafkaCommand: two processes share a topic, each record comes out once and as it
// was, and a later process without their directories knows what they copied.
func TestKafkaCommand(t *testing.T) {
	brokers := servertest.Start(t, servertest.Kafka).Env("KAFKA_BROKERS")
	t.Run("copy", func(t *testing.T) { kafkaCopy(t, brokers) })
	t.Run("observe", func(t *testing.T) {
		kafkaTopics(t, brokers, "all")
		if err := kafkaClient(t, brokers).ProduceSync(t.Context(), kafkaRecords("all", 100)...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		n := startKafka(t, "--brokers", brokers, "--from", "all", "--to", "all-once", "--group", "g-all", "--observe", "--key", "json:event.id")
		readKafka(t, brokers, "all-once", 110)
		if s := n.stop(t); s.Fresh != 100 || s.Duplicate != 10 || s.NoKey != 0 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("errors", func(t *testing.T) {
		if _, err := kadm.NewClient(kafkaClient(t, brokers)).CreateTopic(t.Context(), 1, 1, nil, "narrow"); err != nil {
			t.Fatal(err)
		}
		for want, args := range map[string][]string{
			"has 1 partitions":      {"kafka", "--brokers", brokers, "--from", "all", "--to", "narrow", "--group", "g"},
			`topic "no-log"`:        {"kafka", "marks", "--brokers", brokers, "--topic", "no-log"},
			"not a record of marks": {"kafka", "marks", "--brokers", brokers, "--topic", "all"},
		} {
			if r := firstseen(t, nil, args...); r.code != 1 || !strings.Contains(r.err, want) || r.out != "" {
				t.Errorf("%q: exit code %d, %q, want %q", args, r.code, r.err, want)
			}
		}
	})
}

func kafkaCopy(t *testing.T, brokers string) {
	const n = 3000
	kafkaTopics(t, brokers, "orders")
	flags := []string{"--brokers", brokers, "--from", "orders", "--to", "orders-once", "--duplicates", "orders-again", "--group", "g",
		"--key", "header:id", "--batch", "200"}
	dir := t.TempDir()
	first := startKafka(t, append(flags, "--dir", filepath.Join(dir, "a"))...)
	second := startKafka(t, append(flags, "--dir", filepath.Join(dir, "b"))...)
	sent := kafkaRecords("orders", n)
	if err := kafkaClient(t, brokers).ProduceSync(t.Context(), sent...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	at := map[string]*kgo.Record{}
	for _, r := range sent[:n] {
		at[string(r.Key)] = r
	}
	for _, r := range readKafka(t, brokers, "orders-once", n) {
		was := at[string(r.Key)]
		if was == nil {
			t.Fatalf("%q came twice, or was never sent", r.Key)
		}
		delete(at, string(r.Key))
		if string(r.Value) != string(was.Value) || r.Partition != was.Partition || !r.Timestamp.Equal(was.Timestamp) ||
			fmt.Sprint(r.Headers) != fmt.Sprint(was.Headers) {
			t.Fatalf("%+v was copied as %+v", was, r)
		}
	}
	readKafka(t, brokers, "orders-again", n/10)
	if v := first.scrape(t, "firstseen_kafka_records_total") + second.scrape(t, "firstseen_kafka_records_total"); v < n+n/10 {
		t.Errorf("%v records in the metrics", v)
	}
	if v := first.scrape(t, "firstseen_kafka_partition_ready") + second.scrape(t, "firstseen_kafka_partition_ready"); v != kafkaPartitions {
		t.Errorf("%v partitions are ready", v)
	}
	a, b := first.stop(t), second.stop(t)
	if a.Committed == 0 || b.Committed == 0 || a.Misplaced+b.Misplaced != 0 {
		t.Errorf("the work was not shared, or misplaced: %+v, %+v", a, b)
	}

	third := startKafka(t, flags...)
	sent = append(kafkaRecords("orders", n), kafkaRecords("orders", n+1)[n])
	if err := kafkaClient(t, brokers).ProduceSync(t.Context(), sent...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	readKafka(t, brokers, "orders-once", n+1)
	readKafka(t, brokers, "orders-again", n/10+n+n/10)
	if s := third.stop(t); s.LoadedKeys != n || s.Fresh != 1 || s.Gaps != 0 {
		t.Errorf("%+v", s)
	}
	kafkaMarks(t, brokers, n+1)
}

// kafkaMarks: the log of marks tells what was copied.
func kafkaMarks(t *testing.T, brokers string, n int) {
	t.Helper()
	flags := []string{"kafka", "marks", "--brokers", brokers, "--topic", "orders-marks"}
	var totals []logTotal
	if err := json.Unmarshal([]byte(must(t, nil, append(flags, "--json")...)), &totals); err != nil {
		t.Fatal(err)
	}
	keys := 0
	for _, p := range totals {
		keys += int(p.Keys)
	}
	if keys != n || len(totals) != kafkaPartitions {
		t.Errorf("%d keys in %d partitions: %+v", keys, len(totals), totals)
	}
	if table := must(t, nil, flags...); !strings.Contains(table, fmt.Sprintf("%d,%03d", n/1000, n%1000)) {
		t.Error(table)
	}
	if got := must(t, nil, append(flags, "--keys", "--since", "1h")...); strings.Count(got, "\n") != n || !strings.Contains(got, "\tid-00000\n") {
		t.Errorf("%.300s", got)
	}
	if got := must(t, nil, append(flags, "id-00007")...); strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, "\tid-00007\n") {
		t.Error(got)
	}
	if r := firstseen(t, nil, append(flags, "nobody")...); r.code != 1 || r.out+r.err != "" {
		t.Errorf("a key that is not there: %+v", r)
	}
}

// TestKafkaUsage: a command line that makes no sense is told what is wrong with it.
func TestKafkaUsage(t *testing.T) {
	need := []string{"--brokers", "h:1", "--from", "a", "--to", "b", "--group", "g"}
	for want, args := range map[string][]string{
		"--from is missing":              {"--brokers", "h:1"},
		"--brokers is missing":           {"--from", "a", "--to", "b", "--group", "g"},
		"again and again":                {"--brokers", "h:1", "--from", "a", "--to", "a", "--group", "g"},
		"key, header:NAME or json:PATH":  append(need, "--key", "csv:1"),
		"--tls-ca":                       append(need, "--tls-ca", "x"),
		"--sasl and --user":              append(need, "--sasl", "plain"),
		passwordEnv:                      append(need, "--sasl", "plain", "--user", "u"),
		"the password can't be read":     append(need, "--sasl", "plain", "--user", "u", "--password-file", "/nowhere/x"),
		"to trust can't be read":         append(need, "--tls", "--tls-ca", "/nowhere/x"),
		"it must be one of plain, scram": append(need, "--sasl", "kerberos"),
	} {
		r := firstseen(t, nil, append([]string{"kafka"}, args...)...)
		if code := 2 - strings.Count(want, "read"); r.code != code || !strings.Contains(r.err, want) {
			t.Errorf("%q: exit code %d, %q, want %q", args, r.code, r.err, want)
		}
	}
}

// TestRecordKey: each kind of key, and what has none.
func TestRecordKey(t *testing.T) {
	r := &kgo.Record{Key: []byte("k"), Value: []byte(`{"a":{"b":7},"c":null}`),
		Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}, {Key: "h", Value: []byte("2")}}}
	f := func(flag, want string) {
		t.Helper()
		var k recordKeyFlag
		if err := k.Set(flag); err != nil {
			t.Fatal(err)
		}
		got, err := k.extract()(r)
		if string(got) != want || (err != nil) != (want == "") {
			t.Errorf("%s is %q, %v, want %q", flag, got, err, want)
		}
	}
	f("header:h", "2")
	f("header:none", "")
	f("json:a.b", "7")
	f("json:c", "")
	var k recordKeyFlag
	if err := k.Set("key"); err != nil || k.extract() != nil || k.String() != "key" {
		t.Errorf("%v, %q", err, k.String())
	}
}
