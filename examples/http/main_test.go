package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/firstseen/firstseen/engine"
)

// TestHangsUp: a client that hangs up while its request is handled, and asks again,
// pays once.
func TestHangsUp(t *testing.T) {
	e, err := engine.Open(t.TempDir(), engine.Options{Window: time.Hour, MinFreeDisk: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ctx, hangUp := context.WithCancel(context.Background())
	paid := 0
	handler := once(e, func(w http.ResponseWriter, _ *http.Request) {
		paid++
		hangUp()
		w.WriteHeader(http.StatusCreated)
	})
	ask := func(ctx context.Context) int {
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/payments", http.NoBody)
		r.Header.Set("Idempotency-Key", "42")
		w := httptest.NewRecorder()
		handler(w, r)
		return w.Code
	}
	if code := ask(ctx); code != http.StatusCreated {
		t.Errorf("the first request: %d", code)
	}
	if code := ask(context.Background()); code != http.StatusNoContent || paid != 1 {
		t.Errorf("asked again: %d, paid %d times", code, paid)
	}
}
