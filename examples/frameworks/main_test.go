package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/firstseen/firstseen/adapters/httpidem"
	"github.com/firstseen/firstseen/engine"
)

// TestFrameworks: behind each router a payment is made once for each key, its retry
// gets the same answer, and what is wrong is refused.
func TestFrameworks(t *testing.T) {
	for name, router := range map[string]func(*httpidem.Middleware) http.Handler{"chi": withChi, "echo": withEcho} {
		t.Run(name, func(t *testing.T) {
			e, err := engine.Open(t.TempDir(), engine.Options{Window: time.Hour, MaxResult: 4096, MinFreeDisk: -1})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			m, err := httpidem.New(e, httpidem.Options{Required: true, Scope: httpidem.Everybody})
			if err != nil {
				t.Fatal(err)
			}
			s := httptest.NewServer(router(m))
			defer s.Close()
			want(t, s.URL, "a", "amount=1", 201, "payment 1\n", "")
			want(t, s.URL, "a", "amount=1", 201, "payment 1\n", "true")
			want(t, s.URL, "b", "amount=1", 201, "payment 2\n", "")
			want(t, s.URL, "a", "amount=2", 422, "payload-mismatch", "")
			want(t, s.URL, "", "amount=1", 400, "key-missing", "")
			want(t, s.URL, "a", "amount=1", 201, "payment 1\n", "true")
		})
	}
}

func want(t *testing.T, url, key, body string, status int, answer, replayed string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url+"/payments", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != status || !strings.Contains(string(got), answer) || res.Header.Get("Idempotent-Replayed") != replayed {
		t.Errorf("key %q: %d %q, replayed %q; want %d %q, %q", key, res.StatusCode, got, res.Header.Get("Idempotent-Replayed"), status, answer, replayed)
	}
}
