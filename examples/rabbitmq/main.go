// Command rabbitmq shows an order consumer that handles each message of a RabbitMQ
// queue exactly once: the order that it writes to PostgreSQL and the mark of its
// message are one transaction. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"os"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/firstseen/firstseen/adapters/rabbitmq"
	"github.com/firstseen/firstseen/examples/internal/orders"
)

const queue = "orders"

func main() {
	database := flag.String("database", "", "address of a PostgreSQL database")
	broker := flag.String("broker", "", "address of a RabbitMQ, amqp://…")
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
	conn, err := amqp.Dial(broker)
	if err != nil {
		return err
	}
	defer conn.Close()
	messages := orders.Messages(n)
	if err := publish(ctx, conn, messages); err != nil {
		return err
	}
	a, err := rabbitmq.New(in.Store, rabbitmq.Options{Application: "billing", Queue: queue})
	if err != nil {
		return err
	}
	err = orders.Consume(ctx, a.Consumer(), len(messages), func(ctx context.Context) error {
		return a.Run(ctx, conn, func(ctx context.Context, d *amqp.Delivery) error { return in.Handle(ctx, string(d.Body)) })
	})
	if err != nil {
		return err
	}
	return in.Report(ctx, os.Stdout, a.Consumer(), n, len(messages))
}

// publish makes the queue, with one for dead letters, and fills it. The message-id is
// what makes two messages the same order.
func publish(ctx context.Context, conn *amqp.Connection, messages []string) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	if err := ch.Confirm(false); err != nil {
		return err
	}
	for name, args := range map[string]amqp.Table{
		queue + ".dead": nil,
		queue: {
			amqp.QueueTypeArg: amqp.QueueTypeQuorum, "x-delivery-limit": 20,
			"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queue + ".dead",
		},
	} {
		if _, err := ch.QueueDeclare(name, true, false, false, false, args); err != nil {
			return err
		}
	}
	for _, name := range messages {
		c, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", queue, true, false,
			amqp.Publishing{MessageId: name, DeliveryMode: amqp.Persistent, Body: []byte(name)})
		if err != nil {
			return err
		}
		if ok, err := c.WaitContext(ctx); err != nil || !ok {
			return errors.Join(err, errors.New("a message is not confirmed"))
		}
	}
	return nil
}
