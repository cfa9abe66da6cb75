package nats_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/firstseen/firstseen/adapters/adaptertest"
	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/adapters/nats"
	"github.com/firstseen/firstseen/internal/servertest"
	"github.com/firstseen/firstseen/internal/testguards"
)

// keyHeader is not Nats-Msg-Id, by which the server would refuse the twins.
const keyHeader = "Order-Id"

var (
	pull = adaptertest.Config{
		Name: "pull", NewTopic: newStream, Produce: produce, Consume: consumePull, Guard: testguards.OpenEngine, Drained: drained,
		Patience: 60 * time.Second,
	}
	callback = adaptertest.Config{
		Name: "callback", NewTopic: newStream, Produce: produce, Consume: consumeCallback, Guard: testguards.OpenEngine, Drained: drained,
		Patience: 60 * time.Second,
	}
	inbox = testguards.Inbox(pull, testguards.Postgres)
)

// A broker is the server in the test's process; consumers in child processes connect to it.
type broker struct {
	m    *testing.M
	once sync.Once
	s    *server.Server
	dir  string
	nc   *natsgo.Conn
	err  error
	n    atomic.Int64
}

var embedded broker

func (b *broker) Run() int {
	code := servertest.Main(b.m)
	if b.s != nil {
		b.nc.Close()
		b.s.Shutdown()
		b.s.WaitForShutdown()
	}
	_ = os.RemoveAll(b.dir)
	return code
}

func (b *broker) start() {
	if b.dir, b.err = os.MkdirTemp("", "nats-"); b.err != nil {
		return
	}
	b.s, b.err = server.NewServer(&server.Options{
		ServerName: "test", Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: b.dir, NoLog: true, NoSigs: true,
	})
	if b.err != nil {
		return
	}
	b.s.Start()
	if !b.s.ReadyForConnections(30 * time.Second) {
		b.err = fmt.Errorf("the server is not ready")
		return
	}
	b.nc, b.err = natsgo.Connect(b.s.ClientURL())
}

func (b *broker) stream(t testing.TB) jetstream.JetStream {
	t.Helper()
	if b.once.Do(b.start); b.err != nil {
		t.Fatal(b.err)
	}
	js, err := jetstream.New(b.nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestMain(m *testing.M) {
	embedded.m = m
	adaptertest.Main(&embedded, pull, callback, inbox)
}

func newStream(t testing.TB) string {
	return newStreamOf(t, jetstream.StreamConfig{}, jetstream.ConsumerConfig{AckWait: time.Second, MaxDeliver: 100})
}

// newStreamOf makes a stream of a name of its own, with the consumer "c".
func newStreamOf(t testing.TB, sc jetstream.StreamConfig, cc jetstream.ConsumerConfig) string {
	t.Helper()
	js := embedded.stream(t)
	sc.Name = fmt.Sprintf("s%d", embedded.n.Add(1))
	sc.Subjects = []string{sc.Name}
	if _, err := js.CreateStream(t.Context(), sc); err != nil {
		t.Fatal(err)
	}
	cc.Durable, cc.AckPolicy = "c", jetstream.AckExplicitPolicy
	if _, err := js.CreateConsumer(t.Context(), sc.Name, cc); err != nil {
		t.Fatal(err)
	}
	return embedded.s.ClientURL() + " " + sc.Name
}

func streamOf(address string) string {
	_, stream, _ := strings.Cut(address, " ")
	return stream
}

func produce(t testing.TB, address string, keys ...string) {
	t.Helper()
	js := embedded.stream(t)
	sent := make([]jetstream.PubAckFuture, 0, len(keys))
	for _, key := range keys {
		m := natsgo.NewMsg(streamOf(address))
		m.Data = []byte(key)
		if key != "" {
			m.Header.Set(keyHeader, key)
		}
		f, err := js.PublishMsgAsync(m)
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, f)
	}
	for _, f := range sent {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			t.Fatal(err)
		}
	}
}

func drained(address string) (bool, error) {
	js, err := jetstream.New(embedded.nc)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := js.Consumer(ctx, streamOf(address), "c")
	if err != nil {
		return false, err
	}
	info := c.CachedInfo()
	return info.NumPending == 0 && info.NumAckPending == 0, nil
}

// consumer connects on its own, as a child process has to.
func consumer(ctx context.Context, address string) (jetstream.Consumer, *natsgo.Conn, error) {
	url, stream, _ := strings.Cut(address, " ")
	nc, err := natsgo.Connect(url)
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, nil, err
	}
	c, err := js.Consumer(ctx, stream, "c")
	if err != nil {
		nc.Close()
	}
	return c, nc, err
}

func handle(s adaptertest.Session) nats.Handler {
	return func(ctx context.Context, m jetstream.Msg) error { return s.Handle(ctx, string(m.Data())) }
}

func options(c jetstream.Consumer) nats.Options {
	return nats.Options{
		Application: "test", KeyHeader: keyHeader, RetryAfter: 50 * time.Millisecond, Consumer: c.CachedInfo().Config,
		Consume: consume.Options{RetryMax: 300 * time.Millisecond}, // the suite's leases are long
	}
}

func consumePull(ctx context.Context, s adaptertest.Session) error {
	c, nc, err := consumer(ctx, s.Address)
	if err != nil {
		return err
	}
	defer nc.Close()
	a, err := nats.New(s.Guard, options(c))
	if err != nil {
		return err
	}
	if err := a.Run(ctx, c, handle(s)); err != nil {
		return err
	}
	return nc.Flush()
}

func consumeCallback(ctx context.Context, s adaptertest.Session) error {
	c, nc, err := consumer(ctx, s.Address)
	if err != nil {
		return err
	}
	defer nc.Close()
	a, err := nats.New(s.Guard, options(c))
	if err != nil {
		return err
	}
	cc, err := c.Consume(a.MessageHandler(handle(s)), jetstream.PullMaxMessages(16))
	if err != nil {
		return err
	}
	<-ctx.Done()
	cc.Drain()
	<-cc.Closed()
	if err := a.Close(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	return nc.Flush()
}

func TestPull(t *testing.T) {
	t.Parallel() // nearly all of it is waiting
	adaptertest.Run(t, pull)
}

func TestCallback(t *testing.T) {
	t.Parallel()
	adaptertest.Run(t, callback)
}

func TestStorm(t *testing.T) { adaptertest.RunStorm(t, pull, testguards.Storm(1000, 2)) }

// TestStormInbox: where an effect shares a transaction with its mark it happens exactly
// once.
func TestStormInbox(t *testing.T) { adaptertest.RunStorm(t, inbox, testguards.Storm(300, 2)) }
