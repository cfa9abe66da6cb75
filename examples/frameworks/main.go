// Command frameworks shows idempotent payments behind routers that are not
// net/http's: chi and echo take httpidem as their middleware.
//
// Fiber does not stand on net/http. There the middleware goes around the handler,
// and fiber's adaptor around both: adaptor.HTTPHandler(m.Wrap(h)). It must not be given to fiber as a middleware
// (adaptor.HTTPMiddleware): that one runs fiber's handlers after the middleware has
// returned, so the answer that is stored would be an empty one.
//
//	go run ./examples/frameworks -framework chi &
//	curl -i -X POST -H 'Idempotency-Key: 42' -d 'amount=10' localhost:8080/payments
package main

import (
	"flag"
	"fmt"
	"log"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/labstack/echo/v4"

	"github.com/firstseen/firstseen/adapters/httpidem"
	"github.com/firstseen/firstseen/engine"
)

func main() {
	framework := flag.String("framework", "chi", "chi or echo")
	addr := flag.String("addr", "localhost:8080", "where to listen")
	flag.Parse()
	routers := map[string]func(*httpidem.Middleware) http.Handler{"chi": withChi, "echo": withEcho}
	router, ok := routers[*framework]
	if !ok {
		log.Fatalf("there is no framework %q", *framework)
	}
	e, err := engine.Open("payments", engine.Options{Window: 24 * time.Hour, UntrustedKeys: true, MaxResult: 128 << 10})
	if err != nil {
		log.Fatal(err)
	}
	defer e.Close()
	m, err := httpidem.New(e, httpidem.Options{Required: true, Scope: httpidem.Everybody})
	if err != nil {
		log.Fatal(err)
	}
	log.Print(http.ListenAndServe(*addr, router(m)))
}

// withChi: a router's middleware has net/http's own shape.
func withChi(m *httpidem.Middleware) http.Handler {
	var paid atomic.Int64
	r := chi.NewRouter()
	r.With(m.Wrap).Post("/payments", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, "payment %d\n", paid.Add(1))
	})
	return r
}

// withEcho: echo.WrapMiddleware makes a middleware of its own shape. Handlers write
// to echo's context as ever.
func withEcho(m *httpidem.Middleware) http.Handler {
	var paid atomic.Int64
	e := echo.New()
	e.POST("/payments", func(c echo.Context) error {
		return c.String(http.StatusCreated, fmt.Sprintf("payment %d\n", paid.Add(1)))
	}, echo.WrapMiddleware(m.Wrap))
	return e
}
