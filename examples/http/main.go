// Command http shows a handler that does its work once for each Idempotency-Key.
//
//	go run ./examples/http &
//	curl -i -X POST -H 'Idempotency-Key: 42' localhost:8080/payments
package main

import (
	"context"
	"log"
	"net/http"
	"strconv"
	"time"

	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/engine"
)

// once lets a request through whose key is new. The keys come from strangers, so
// the engine is opened with UntrustedKeys.
func once(guard dedup.Guard, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key")
		if key == "" {
			http.Error(w, "Idempotency-Key is missing", http.StatusBadRequest)
			return
		}
		claim, err := guard.Claim(r.Context(), []byte(key))
		switch {
		case err != nil: // nothing is known of the key: the client asks again
			http.Error(w, "try again", http.StatusServiceUnavailable)
			return
		case claim.Verdict == dedup.InFlight:
			w.Header().Set("Retry-After", strconv.Itoa(1+int(time.Until(claim.Expires).Seconds())))
			http.Error(w, "the same request is being handled", http.StatusConflict)
			return
		case claim.Verdict == dedup.Duplicate:
			w.WriteHeader(http.StatusNoContent) // it was done before
			return
		}
		// The client may hang up while next works, and asks again with the same key. What
		// was done for it must be remembered all the same, or it would pay twice. So the
		// claim's end does not depend on the request's context.
		ctx := context.WithoutCancel(r.Context())
		done := false
		defer func() {
			if !done { // next panicked or Commit failed: the key is fresh again
				_ = guard.Release(ctx, claim)
			}
		}()
		next(w, r)
		if err := guard.Commit(ctx, claim); err != nil {
			log.Printf("the request is done, but its key is not remembered: %v", err)
			return
		}
		done = true
	}
}

func main() {
	e, err := engine.Open("payments", engine.Options{Window: 24 * time.Hour, UntrustedKeys: true})
	if err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("POST /payments", once(e, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusCreated)
	}))
	err = http.ListenAndServe("localhost:8080", nil)
	log.Print(err, e.Close())
}
