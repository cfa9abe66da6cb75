package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firstseen/firstseen/internal/servertest"
)

func TestMain(m *testing.M) { os.Exit(servertest.Main(m)) }

// TestReplicas: 1,000 clients at once, two for each operation, whose attempts time
// out and whose connections are cut, send their requests to two replicas in turn
// until they have an answer. Each operation has its effect once, and all clients
// of an operation have the same bytes.
func TestReplicas(t *testing.T) {
	clients, rounds := 1000, 1
	if os.Getenv("FIRSTSEEN_SERVERS") == "long" {
		rounds = 10
	}
	db, proxies := twoReplicas(t)
	stop, cuts := make(chan struct{}), sync.WaitGroup{}
	cuts.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
				for _, p := range proxies {
					p.Cut(0.02)
				}
			}
		}
	})
	var s storm
	for round := range rounds {
		s.blow(t, proxies, clients, fmt.Sprintf("r%d", round))
	}
	close(stop)
	cuts.Wait()
	operations := clients / 2 * rounds
	var payments, different int
	if err := db.QueryRow("SELECT count(*), count(DISTINCT key) FROM payments").Scan(&payments, &different); err != nil {
		t.Fatal(err)
	}
	if payments != operations || different != operations {
		t.Errorf("%d operations made %d payments for %d keys", operations, payments, different)
	}
	if s.timeouts.Load()+s.cut.Load() == 0 {
		t.Error("no attempt failed: the test shows nothing")
	}
	t.Logf("%d clients, %d operations: %d payments; %d attempts, of which %d timed out, %d were cut, %d met a running twin; %d replays",
		clients*rounds, operations, payments, s.attempts.Load(), s.timeouts.Load(), s.cut.Load(), s.conflicts.Load(), s.replays.Load())
}

func twoReplicas(t *testing.T) (*sql.DB, []*servertest.Proxy) {
	t.Helper()
	database := servertest.Shared(t, servertest.Postgres).Env("POSTGRES_URL")
	var first *sql.DB
	var proxies []*servertest.Proxy
	for _, name := range []string{"a", "b"} {
		db, store, intents, err := open(database)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close(); _ = db.Close() })
		if first == nil {
			first = db
			if err := migrate(t.Context(), db, store, intents); err != nil {
				t.Fatal(err)
			}
		}
		handler, err := replica(db, store, intents, name)
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		proxies = append(proxies, servertest.NewProxy(t, strings.TrimPrefix(server.URL, "http://")))
	}
	return first, proxies
}

// A storm counts what its clients meet.
type storm struct {
	attempts, timeouts, cut, conflicts, replays atomic.Int64
}

// blow runs all clients at once, two for each operation.
func (s *storm) blow(t *testing.T, proxies []*servertest.Proxy, clients int, round string) {
	t.Helper()
	answers := make([]string, clients)
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			key := fmt.Sprintf("%s-%d", round, c/2)
			for try := 0; answers[c] == "" && ctx.Err() == nil; try++ {
				if try > 0 {
					<-time.After(rand.N(min(time.Second, 50*time.Millisecond<<min(try, 5))))
				}
				answers[c] = s.attempt(ctx, t, transport, "http://"+proxies[(c+try)%2].Addr(), key)
			}
		})
	}
	wg.Wait()
	for c := 0; c < clients; c += 2 {
		if answers[c] != answers[c+1] || !strings.HasPrefix(answers[c], "201 {") {
			t.Errorf("the clients of operation %d have %q and %q", c/2, answers[c], answers[c+1])
		}
	}
}

// attempt returns status and body of an answer, or "" where it has to be asked
// again.
func (s *storm) attempt(ctx context.Context, t *testing.T, transport *http.Transport, url, key string) string {
	s.attempts.Add(1)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(200+rand.IntN(10_000))*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(`{"amount":10}`))
	if err != nil {
		t.Error(err)
		return "broken"
	}
	req.Header.Set("Idempotency-Key", key)
	res, err := transport.RoundTrip(req)
	var body []byte
	if err == nil {
		body, err = io.ReadAll(res.Body)
		res.Body.Close()
	}
	switch {
	case err != nil && ctx.Err() != nil:
		s.timeouts.Add(1)
		return ""
	case err != nil:
		s.cut.Add(1)
		return ""
	case res.StatusCode == http.StatusConflict && strings.Contains(string(body), "in-flight"):
		s.conflicts.Add(1)
		return ""
	case res.StatusCode == http.StatusServiceUnavailable:
		return ""
	}
	if res.Header.Get("Idempotent-Replayed") != "" {
		s.replays.Add(1)
	}
	return fmt.Sprintf("%d %s", res.StatusCode, body)
}
