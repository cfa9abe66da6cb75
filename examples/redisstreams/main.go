// Command redisstreams shows an order consumer that handles each message of a Redis
// stream exactly once: the order that it writes to PostgreSQL and the mark of its
// message are one transaction. See README.md.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/firstseen/firstseen/adapters/redisstreams"
	"github.com/firstseen/firstseen/examples/internal/orders"
)

const stream, group = "orders", "billing"

func main() {
	database := flag.String("database", "", "address of a PostgreSQL database")
	broker := flag.String("broker", "", "address of a Redis, host:port")
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
	client := redis.NewClient(&redis.Options{Addr: broker})
	defer client.Close()
	if err := client.XGroupCreateMkStream(ctx, stream, group, "0").Err(); err != nil {
		return err
	}
	messages := orders.Messages(n)
	for _, name := range messages {
		if err := client.XAdd(ctx, &redis.XAddArgs{Stream: stream, Values: []string{"order", name}}).Err(); err != nil {
			return err
		}
	}
	a, err := redisstreams.New(in.Store, client, redisstreams.Options{
		Application: "billing", Stream: stream, Group: group, Consumer: "billing-1", KeyField: "order",
	})
	if err != nil {
		return err
	}
	err = orders.Consume(ctx, a.Consumer(), len(messages), func(ctx context.Context) error {
		return a.Run(ctx, func(ctx context.Context, m redis.XMessage) error { return in.Handle(ctx, m.Values["order"].(string)) })
	})
	if err != nil {
		return err
	}
	return in.Report(ctx, os.Stdout, a.Consumer(), n, len(messages))
}
