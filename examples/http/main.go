// Command http is a payment service that pays once for each Idempotency-Key. The
// README of adapters/httpidem shows what curl gets from it.
//
//	go run ./examples/http
package main

import (
	"flag"
	"fmt"
	"log"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/firstseen/firstseen/adapters/httpidem"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
)

var paid atomic.Int64

// pay makes the payment. takes says how long its card network needs, so that a
// retry can be seen to come while the payment is being made.
func pay(w http.ResponseWriter, r *http.Request) {
	takes, _ := time.ParseDuration(r.FormValue("takes")) // without it, no time
	<-time.After(takes)
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, "payment %d: %s\n", paid.Add(1), r.FormValue("amount"))
}

// service is pay behind the middleware.
func service(guard dedup.Guard, pay http.HandlerFunc) (http.Handler, error) {
	m, err := httpidem.New(guard, httpidem.Options{Required: true})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /payments", m.Wrap(pay))
	return mux, nil
}

func main() {
	dir := flag.String("dir", "payments", "where keys and answers are kept")
	flag.Parse()
	// The keys come from strangers; an answer may have 64 KiB and its headers.
	e, err := engine.Open(*dir, engine.Options{Window: 24 * time.Hour, UntrustedKeys: true, MaxResult: 128 << 10})
	if err != nil {
		log.Fatal(err)
	}
	s, err := service(e, pay)
	if err == nil {
		err = http.ListenAndServe("localhost:8080", s)
	}
	log.Print(err, e.Close())
}
