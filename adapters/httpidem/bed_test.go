package httpidem_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/firstseen/firstseen/adapters/httpidem"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/memguard"
)

// A bed is a server whose handler is behind the middleware.
type bed struct {
	*testing.T
	guard *memguard.Guard
	m     *httpidem.Middleware
	url   string
	ran   atomic.Int64
}

// newBed serves handler, or one that answers 201 with a body of its own each time.
func newBed(t *testing.T, o httpidem.Options, handler http.HandlerFunc) *bed {
	t.Helper()
	b := &bed{T: t, guard: &memguard.Guard{}}
	b.serve(b.guard, o, handler)
	return b
}

func (b *bed) serve(g dedup.Guard, o httpidem.Options, handler http.HandlerFunc) {
	b.Helper()
	m, err := httpidem.New(g, o)
	if err != nil {
		b.Fatal(err)
	}
	b.m = m
	s := httptest.NewServer(m.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := b.ran.Add(1)
		if handler != nil {
			handler(w, r)
			return
		}
		w.Header().Set("Location", "/orders/"+string(rune('0'+n)))
		w.Header().Set("Set-Cookie", "session=1")
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "order "+string(rune('0'+n)))
	})))
	b.Cleanup(s.Close)
	b.url = s.URL
}

type reply struct {
	status  int
	header  http.Header
	body    string
	problem httpidem.Problem
}

// post sends a request; headers are given as name, value, name, value.
func (b *bed) post(path, body string, headers ...string) reply {
	b.Helper()
	return b.send(http.MethodPost, path, body, headers...)
}

func (b *bed) send(method, path, body string, headers ...string) reply {
	b.Helper()
	req, err := http.NewRequest(method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer alice")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Del(headers[i])
		if headers[i+1] != "" {
			req.Header.Add(headers[i], headers[i+1])
		}
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		b.Fatal(err)
	}
	r := reply{status: res.StatusCode, header: res.Header, body: string(data)}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/problem+json") {
		if err := json.Unmarshal(data, &r.problem); err != nil {
			b.Fatalf("problem %q: %v", data, err)
		}
		if r.problem.Status != r.status || r.problem.Title == "" || r.problem.Detail == "" {
			b.Errorf("problem %+v with status %d", r.problem, r.status)
		}
	}
	return r
}

func (b *bed) wantRuns(want int64) {
	b.Helper()
	if got := b.ran.Load(); got != want {
		b.Errorf("the handler ran %d times, want %d", got, want)
	}
}

func (b *bed) wantProblem(r reply, status int, kind string) {
	b.Helper()
	if r.status != status || r.problem.Type != kind {
		b.Errorf("%d %s (%s), want %d %s", r.status, r.problem.Type, r.body, status, kind)
	}
}

func wantSame(t *testing.T, first, again reply) {
	t.Helper()
	if again.status != first.status || again.body != first.body || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("replay: %d %q %v, first %d %q", again.status, again.body, again.header, first.status, first.body)
	}
	if first.header.Get("Idempotent-Replayed") != "" {
		t.Error("the first answer says that it is a replay")
	}
}
