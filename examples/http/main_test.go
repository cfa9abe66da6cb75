package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/firstseen/firstseen/engine"
)

// TestHangsUp: a client that hangs up while its payment is made, and asks again,
// pays once and gets the answer of that payment. What else the service answers is
// checked by .ci/snippets, which runs the curl lines of the README.
func TestHangsUp(t *testing.T) {
	e, err := engine.Open(t.TempDir(), engine.Options{Window: time.Hour, MaxResult: 4096, MinFreeDisk: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ctx, hangUp := context.WithCancel(t.Context())
	s, err := service(e, func(w http.ResponseWriter, r *http.Request) {
		hangUp()
		pay(w, r)
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(ctx context.Context) (status int, body string) {
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/payments", strings.NewReader("amount=10"))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Idempotency-Key", "42")
		r.SetBasicAuth("alice", "")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	ask(ctx)
	if status, body := ask(t.Context()); status != http.StatusCreated || body != "payment 1: 10\n" || paid.Load() != 1 {
		t.Errorf("asked again: %d %q, paid %d times", status, body, paid.Load())
	}
}
