// Command rocketmq shows an order consumer that handles each message of RocketMQ
// exactly once: the order that it writes to MySQL and the mark of its message are one
// transaction. A producer sends every fifth order twice, and every tenth handler
// fails at first. See README.md.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"sync"
	"time"

	rmq "github.com/apache/rocketmq-clients/golang/v5"
	"github.com/apache/rocketmq-clients/golang/v5/credentials"
	_ "github.com/go-sql-driver/mysql"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/adapters/rocketmq"
	"github.com/firstseen/firstseen/dedup"
	mysqlstore "github.com/firstseen/firstseen/stores/mysql"
)

// topic and group are made by ./run: a v5 client makes neither.
const topic, group = "orders", "billing"

// patience is how long the example waits for its messages.
const patience = 3 * time.Minute

func main() {
	endpoint := flag.String("endpoint", "", "RocketMQ's proxy, host:port")
	dsn := flag.String("dsn", "", "MySQL, as github.com/go-sql-driver/mysql has it")
	orders := flag.Int("orders", 200, "how many different orders there are")
	flag.Parse()
	rmq.EnableSsl = false // the broker of ./run is on this machine
	if err := run(*endpoint, *dsn, *orders); err != nil {
		log.Fatal(err)
	}
}

func run(endpoint, dsn string, orders int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	store, err := mysqlstore.New(db, mysqlstore.Options{Window: rocketmq.Window, Lease: rocketmq.Lease})
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.Migrate(ctx); err != nil {
		return err
	}
	// No unique key: a second row for an order would show.
	if _, err := db.ExecContext(ctx, "CREATE TABLE orders (id bigint AUTO_INCREMENT PRIMARY KEY, name varchar(255) NOT NULL)"); err != nil {
		return err
	}
	sent, err := produce(ctx, endpoint, orders)
	if err != nil {
		return err
	}
	in := &inbox{db: db, store: store, failed: map[string]bool{}}
	counts, err := consumeAll(ctx, endpoint, in, sent)
	if err != nil {
		return err
	}
	var rows, different int
	if err := db.QueryRowContext(ctx, "SELECT count(*), count(DISTINCT name) FROM orders").Scan(&rows, &different); err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "%d orders, %d messages: %d rows, %d duplicates dropped, %d handlers failed at first\n",
		orders, sent, rows, counts.Duplicate, counts.Failed)
	if rows != orders || different != orders {
		return fmt.Errorf("%d orders made %d rows for %d of them", orders, rows, different)
	}
	return nil
}

// produce sends every order, and every fifth twice, as a producer does whose first
// try seemed to fail.
func produce(ctx context.Context, endpoint string, orders int) (sent int, err error) {
	p, err := rmq.NewProducer(config(endpoint), rmq.WithTopics(topic))
	if err != nil {
		return 0, err
	}
	if err := p.Start(); err != nil {
		return 0, err
	}
	defer func() { _ = p.GracefulStop() }()
	for i := range orders {
		m := &rmq.Message{Topic: topic, Body: fmt.Appendf(nil, "order-%d", i)}
		m.SetKeys(string(m.Body)) // what makes two messages the same order
		for range 1 + (5-i%5)/5 {
			if _, err := p.Send(ctx, m); err != nil {
				return sent, err
			}
			sent++
		}
	}
	return sent, nil
}

func config(endpoint string) *rmq.Config {
	return &rmq.Config{Endpoint: endpoint, ConsumerGroup: group, Credentials: &credentials.SessionCredentials{}}
}

// consumeAll handles messages until all that were sent are acknowledged.
func consumeAll(ctx context.Context, endpoint string, in *inbox, sent int) (consume.Counts, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	a, err := rocketmq.New(in.store, rocketmq.Options{Application: "billing", Consume: consume.Options{
		OnDuplicate: func(_ context.Context, m consume.Message, _ dedup.Claim) {
			fmt.Fprintf(os.Stdout, "%s came again: dropped\n", m.Value.(*rmq.MessageView).GetBody())
		},
	}})
	if err != nil {
		return consume.Counts{}, err
	}
	sc, err := rmq.NewSimpleConsumer(config(endpoint), rmq.WithSimpleAwaitDuration(5*time.Second),
		rmq.WithSimpleSubscriptionExpressions(map[string]*rmq.FilterExpression{topic: rmq.SUB_ALL}))
	if err != nil {
		return consume.Counts{}, err
	}
	if err := sc.Start(); err != nil {
		return consume.Counts{}, err
	}
	defer func() { _ = sc.GracefulStop() }()
	counts := func() (c consume.Counts) {
		for _, c = range a.Consumer().Snapshot() { // there is one scope
		}
		return c
	}
	for ctx.Err() == nil && counts().Acked < uint64(sent) {
		messages, err := sc.Receive(ctx, 16, time.Minute)
		if err != nil {
			continue // the client tells by an error that nothing came
		}
		if err := a.Process(ctx, sc, in.handle, messages...); err != nil {
			return counts(), err
		}
	}
	return counts(), ctx.Err()
}

// An inbox writes orders.
type inbox struct {
	db    *sql.DB
	store *mysqlstore.Store

	mu     sync.Mutex
	failed map[string]bool // orders whose handler has failed; guarded by mu
}

// handle writes an order and marks its message, both or neither.
func (in *inbox) handle(ctx context.Context, m *rmq.MessageView) error {
	order := string(m.GetBody())
	tx, err := in.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders (name) VALUES (?)", order); err != nil {
		return err
	}
	if err := in.failsAtFirst(order); err != nil {
		return err // the row goes with the transaction, and the message comes again
	}
	work := consume.WorkFrom(ctx)
	if err := in.store.CommitTx(ctx, tx, work.Claim()); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	work.SetCommitted()
	return nil
}

func (in *inbox) failsAtFirst(order string) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if order[len(order)-1] == '7' && !in.failed[order] {
		in.failed[order] = true
		return errors.New("not this time")
	}
	return nil
}
