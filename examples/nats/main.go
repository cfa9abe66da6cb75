// Command nats shows an order consumer that handles each message of a NATS JetStream
// stream exactly once: the order that it writes to PostgreSQL and the mark of its
// message are one transaction. The server is embedded. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/firstseen/firstseen/adapters/nats"
	"github.com/firstseen/firstseen/examples/internal/orders"
)

// keyHeader is not Nats-Msg-Id: within two minutes the server itself would refuse what
// is sent twice, and there would be nothing to see.
const keyHeader = "Order-Id"

func main() {
	database := flag.String("database", "", "address of a PostgreSQL database")
	broker := flag.String("broker", "", "address of a NATS server with JetStream; none: one of its own")
	n := flag.Int("orders", 200, "how many different orders there are")
	flag.Parse()
	if err := run(*database, *broker, *n); err != nil {
		log.Fatal(err)
	}
}

func run(database, broker string, n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	in, err := orders.Open(ctx, database)
	if err != nil {
		return err
	}
	defer in.Close()
	if broker == "" {
		s, err := embedded()
		if err != nil {
			return err
		}
		defer stop(s)
		broker = s.ClientURL()
	}
	nc, err := natsgo.Connect(broker)
	if err != nil {
		return err
	}
	defer nc.Close()
	messages := orders.Messages(n)
	consumer, err := publish(ctx, nc, messages)
	if err != nil {
		return err
	}
	a, err := nats.New(in.Store, nats.Options{Application: "billing", Consumer: consumer.CachedInfo().Config, KeyHeader: keyHeader})
	if err != nil {
		return err
	}
	err = orders.Consume(ctx, a.Consumer(), len(messages), func(ctx context.Context) error {
		return a.Run(ctx, consumer, func(ctx context.Context, m jetstream.Msg) error { return in.Handle(ctx, string(m.Data())) })
	})
	if err != nil {
		return err
	}
	return in.Report(ctx, os.Stdout, a.Consumer(), n, len(messages))
}

// publish makes stream and consumer, and fills the stream.
func publish(ctx context.Context, nc *natsgo.Conn, messages []string) (jetstream.Consumer, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "orders", Subjects: []string{"orders"}}); err != nil {
		return nil, err
	}
	for _, name := range messages {
		m := natsgo.NewMsg("orders")
		m.Data = []byte(name)
		m.Header.Set(keyHeader, name)
		if _, err := js.PublishMsg(ctx, m); err != nil {
			return nil, err
		}
	}
	return js.CreateConsumer(ctx, "orders", jetstream.ConsumerConfig{Durable: "billing", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 20})
}

func embedded() (*server.Server, error) {
	dir, err := os.MkdirTemp("", "orders-nats-")
	if err != nil {
		return nil, err
	}
	s, err := server.NewServer(&server.Options{
		ServerName: "example", Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true,
	})
	if err != nil {
		return nil, err
	}
	s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		stop(s)
		return nil, errors.New("the server is not ready")
	}
	return s, nil
}

// stop ends the embedded server and removes its files.
func stop(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
	_ = os.RemoveAll(s.StoreDir())
}
