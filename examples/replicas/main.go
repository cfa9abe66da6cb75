// Command replicas shows a payment service with two replicas behind a load
// balancer: one memory of idempotency keys in PostgreSQL, so that it does not
// matter which replica a retry meets. See README.md.
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"sync/atomic"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/firstseen/firstseen/adapters/httpidem"
	"github.com/firstseen/firstseen/adapters/intents/sqlintents"
	pgstore "github.com/firstseen/firstseen/stores/postgres"
)

func main() {
	database := flag.String("url", "", "address of a PostgreSQL database")
	addr := flag.String("addr", "localhost:8080", "where the load balancer listens")
	name := flag.String("replica", "", "be a replica of this name, at addr")
	flag.Parse()
	var err error
	if *name == "" {
		err = balance(*database, *addr)
	} else {
		err = serve(*database, *addr, *name)
	}
	log.Fatal(err)
}

// migrate makes the tables; one process does it before the others start.
func migrate(ctx context.Context, db *sql.DB, store *pgstore.Store, intents *sqlintents.Table) error {
	if err := store.Migrate(ctx); err != nil {
		return err
	}
	if err := intents.Migrate(ctx); err != nil {
		return err
	}
	// No unique key: a second payment for a key would show.
	_, err := db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS payments (id bigserial PRIMARY KEY, key text NOT NULL, by text NOT NULL)")
	return err
}

// replica is the service: its handler runs once for each key, in whichever
// replica it comes first.
func replica(db *sql.DB, store *pgstore.Store, intents *sqlintents.Table, name string) (http.Handler, error) {
	m, err := httpidem.New(store, httpidem.Options{
		Required: true,
		Intents:  intents,
		Logger:   slog.Default(),
		Scope:    httpidem.Everybody, // one caller in this example; the default is by Authorization
	})
	if err != nil {
		return nil, err
	}
	return limit(m.Wrap(payments(db, name))), nil
}

// atOnce is how many requests a replica works on at once.
const atOnce = 16

// limit lets no more requests in than there are connections to the database. Those
// beyond wait here, where one whose client gives up leaves the queue, and not for
// a connection with a claim in their hands.
func limit(next http.Handler) http.Handler {
	room := make(chan struct{}, atOnce)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case room <- struct{}{}:
			defer func() { <-room }()
			next.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	})
}

func payments(db *sql.DB, name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A client that hangs up must not leave the payment half done: the statement
		// would be cancelled, and nobody would know whether it has run.
		ctx := context.WithoutCancel(r.Context())
		var id int64
		key := r.Header.Get("Idempotency-Key")
		err := db.QueryRowContext(ctx, "INSERT INTO payments (key, by) VALUES ($1, $2) RETURNING id", key, name).Scan(&id)
		if err != nil {
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "{\"payment\":%d,\"by\":%q}\n", id, name)
	})
}

// open returns what a replica keeps for itself; all of it may be shared by any
// number of goroutines.
func open(database string) (*sql.DB, *pgstore.Store, *sqlintents.Table, error) {
	db, err := sql.Open("pgx", database)
	if err != nil {
		return nil, nil, nil, err
	}
	db.SetMaxOpenConns(2 * atOnce)
	db.SetMaxIdleConns(2 * atOnce) // the default, 2, makes a new connection for most requests under load
	store, err := pgstore.New(db, pgstore.Options{Window: 24 * time.Hour})
	if err != nil {
		return nil, nil, nil, errors.Join(err, db.Close())
	}
	intents, err := sqlintents.New(db, sqlintents.PostgreSQL)
	return db, store, intents, err
}

// serve is the process of a replica.
func serve(database, addr, name string) error {
	db, store, intents, err := open(database)
	if err != nil {
		return err
	}
	handler, err := replica(db, store, intents, name)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /payments", handler)
	return http.ListenAndServe(addr, mux) //nolint:gosec // an example
}

// balance starts two replicas and sends them requests in turn.
func balance(database, addr string) error {
	db, store, intents, err := open(database)
	if err != nil {
		return err
	}
	if err := migrate(context.Background(), db, store, intents); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var targets []*url.URL
	for n, name := range []string{"a", "b"} {
		at := fmt.Sprintf("localhost:%d", 8081+n)
		c := exec.Command(self, "-url", database, "-addr", at, "-replica", name)
		c.Stderr = os.Stderr
		if err := c.Start(); err != nil {
			return err
		}
		defer c.Process.Kill() //nolint:errcheck // it may have ended by itself
		targets = append(targets, &url.URL{Scheme: "http", Host: at})
	}
	var turn atomic.Uint64
	log.Printf("replicas at %s and %s, the load balancer at http://%s/payments", targets[0], targets[1], addr)
	return http.ListenAndServe(addr, &httputil.ReverseProxy{ //nolint:gosec // an example
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(targets[turn.Add(1)%2]) },
	})
}
