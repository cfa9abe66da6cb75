// Command inbox shows a consumer whose effects are exactly once: the order that it
// writes and the mark of its message are one transaction. The consumer is a
// process of its own, which is killed again and again, and messages come again
// until they are acknowledged. See README.md.
package main

import (
	"bufio"
	"context"
	"database/sql"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/firstseen/firstseen/dedup"
	pgstore "github.com/firstseen/firstseen/stores/postgres"
)

func main() {
	url := flag.String("url", "", "address of a PostgreSQL database")
	consumer := flag.Bool("consumer", false, "be the consumer: messages on standard input, acknowledgements on standard output")
	messages := flag.Int("messages", 200, "how many different messages there are")
	flag.Parse()
	db, err := sql.Open("pgx", *url)
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	store, err := pgstore.New(db, pgstore.Options{Window: 7 * 24 * time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	ctx := context.Background()
	if *consumer {
		err = consume(ctx, db, store)
	} else {
		err = broker(ctx, db, store, *url, *messages)
	}
	if err != nil {
		log.Print(err)
	}
}

// consume handles every line of standard input and acknowledges it.
func consume(ctx context.Context, db *sql.DB, store *pgstore.Store) error {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := handle(ctx, db, store, lines.Text()); err != nil {
			return err // without an acknowledgement: it comes again
		}
		fmt.Fprintln(os.Stdout, lines.Text())
	}
	return lines.Err()
}

// handle writes an order, once for each message, however often it comes.
func handle(ctx context.Context, db *sql.DB, store *pgstore.Store, message string) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	verdicts, err := store.AdmitTx(ctx, tx, []byte(message))
	if err != nil {
		return err
	}
	if verdicts[0] != dedup.Fresh {
		return nil // handled before
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders (message) VALUES ($1)", message); err != nil {
		return err
	}
	return tx.Commit()
}

// broker delivers messages until they are acknowledged, kills the consumer now
// and then, and looks at the orders in the end.
func broker(ctx context.Context, db *sql.DB, store *pgstore.Store, url string, messages int) error {
	if err := store.Migrate(ctx); err != nil {
		return err
	}
	// No unique key: a second order for a message would show.
	if _, err := db.ExecContext(ctx, "CREATE TABLE orders (id bigserial PRIMARY KEY, message text NOT NULL)"); err != nil {
		return err
	}
	var queue []string
	for i := range messages {
		queue = append(queue, fmt.Sprintf("order-%d", i))
	}
	queue = append(queue, queue[:messages/5]...) // a producer that sent some twice
	deliveries, kills := 0, 0
	for len(queue) > 0 {
		acknowledged, delivered, err := deliver(url, queue)
		if err != nil {
			return err
		}
		deliveries += delivered
		queue = queue[acknowledged:]
		if len(queue) > 0 {
			kills++
		}
	}
	var orders, different int
	err := db.QueryRowContext(ctx, "SELECT count(*), count(DISTINCT message) FROM orders").Scan(&orders, &different)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stdout, "%d messages, %d deliveries, consumer killed %d times: %d orders for %d messages\n",
		messages, deliveries, kills, orders, different)
	if orders != messages || different != messages {
		return fmt.Errorf("%d messages made %d orders for %d of them", messages, orders, different)
	}
	return nil
}

// deliver starts a consumer, sends it the queue and kills it after a while, with
// a message in its hands. It returns how many were acknowledged.
func deliver(url string, queue []string) (acknowledged, delivered int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, 0, err
	}
	c := exec.Command(self, "-consumer", "-url", url)
	c.Stdin, c.Stderr = strings.NewReader(strings.Join(queue, "\n")+"\n"), os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return 0, 0, err
	}
	if err := c.Start(); err != nil {
		return 0, 0, err
	}
	most := 1 + rand.IntN(30)
	for lines := bufio.NewScanner(out); acknowledged < most && lines.Scan(); {
		if lines.Text() != queue[acknowledged] {
			err = fmt.Errorf("acknowledged %q, expected %q", lines.Text(), queue[acknowledged])
			break
		}
		acknowledged++
	}
	// SIGKILL: it works on the next message by now, and can clean up nothing.
	_ = c.Process.Kill()
	_ = c.Wait() // it was killed, or has handled the whole queue
	return acknowledged, min(acknowledged+1, len(queue)), err
}
