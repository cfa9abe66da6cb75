package httpidem_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/adapters/httpidem"
	"github.com/firstseen/firstseen/dedup/keys"
)

// TestReplay: a retry gets status, stored headers and body byte for byte, and the
// handler does not run.
func TestReplay(t *testing.T) {
	b := newBed(t, httpidem.Options{}, nil)
	first := b.post("/orders", "{}", "Idempotency-Key", `"k-1"`)
	again := b.post("/orders", "{}", "Idempotency-Key", `"k-1"`)
	if first.status != 201 || first.body != "order 1" || first.header.Get("Set-Cookie") == "" {
		t.Fatalf("%+v", first)
	}
	wantSame(t, first, again)
	if again.header.Get("Location") != "/orders/1" || again.header.Get("Content-Type") != "text/plain" {
		t.Errorf("stored headers: %v", again.header)
	}
	if again.header.Get("Set-Cookie") != "" {
		t.Error("a cookie was replayed: it belongs to the first client alone")
	}
	b.wantRuns(1)
}

// TestKeyForms: a quoted key and a bare one are the same key; what is neither is
// refused, and nothing runs.
func TestKeyForms(t *testing.T) {
	b := newBed(t, httpidem.Options{}, nil)
	first := b.post("/o", "", "Idempotency-Key", `"8e03978e-40d5-43e8-bc93-6894a57f9324"`)
	wantSame(t, first, b.post("/o", "", "Idempotency-Key", `8e03978e-40d5-43e8-bc93-6894a57f9324`))
	escaped := b.post("/o", "", "Idempotency-Key", `"a\"b"`)
	wantSame(t, escaped, b.post("/o", "", "Idempotency-Key", `"a\"b"`))
	b.wantRuns(2)
	for _, bad := range []string{`""`, `"open`, `"a"b"`, `a b`, `a,b`, `a"b`, "\xff", `"a";p=1`, strings.Repeat("k", 256), `"` + strings.Repeat("k", 256) + `"`} {
		b.wantProblem(b.post("/o", "", "Idempotency-Key", bad), 400, httpidem.TypeKeyInvalid)
	}
	b.wantRuns(2)
	if r := b.post("/o", "", "Idempotency-Key", strings.Repeat("k", 255)); r.status != 201 {
		t.Errorf("the longest key: %d %s", r.status, r.body)
	}
}

func TestTwoHeaders(t *testing.T) {
	b := newBed(t, httpidem.Options{}, nil)
	req, _ := http.NewRequest(http.MethodPost, b.url, nil)
	req.Header = http.Header{"Idempotency-Key": {"a", "b"}, "Authorization": {"x"}}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 400 {
		t.Errorf("%d", res.StatusCode)
	}
	b.wantRuns(0)
}

// TestMissingKey: required or not is the service's choice.
func TestMissingKey(t *testing.T) {
	b := newBed(t, httpidem.Options{Required: true}, nil)
	b.wantProblem(b.post("/o", ""), 400, httpidem.TypeKeyMissing)
	b.wantRuns(0)
	if r := b.send(http.MethodGet, "/o", ""); r.status != 201 {
		t.Errorf("a GET takes no key: %d", r.status)
	}
	free := newBed(t, httpidem.Options{}, nil)
	free.post("/o", "")
	free.post("/o", "")
	free.wantRuns(2)
}

// TestMismatch: another payload under the same key is 422, whatever part differs.
func TestMismatch(t *testing.T) {
	b := newBed(t, httpidem.Options{}, nil)
	key := []string{"Idempotency-Key", "k", "Content-Type", "application/json"}
	first := b.post("/o?a=1", "{}", key...)
	b.wantProblem(b.post("/o?a=1", "{ }", key...), 422, httpidem.TypeMismatch)
	b.wantProblem(b.post("/o?a=2", "{}", key...), 422, httpidem.TypeMismatch)
	b.wantProblem(b.post("/p?a=1", "{}", key...), 422, httpidem.TypeMismatch)
	b.wantProblem(b.post("/o?a=1", "{}", "Idempotency-Key", "k", "Content-Type", "text/plain"), 422, httpidem.TypeMismatch)
	b.wantProblem(b.send(http.MethodPatch, "/o?a=1", "{}", key...), 422, httpidem.TypeMismatch)
	wantSame(t, first, b.post("/o?a=1", "{}", key...))
	b.wantRuns(1)
}

// TestScope: keys of one caller are nothing to another, and a request without a
// caller is refused rather than global.
func TestScope(t *testing.T) {
	b := newBed(t, httpidem.Options{}, nil)
	b.post("/o", "", "Idempotency-Key", "k", "Authorization", "Bearer alice")
	if r := b.post("/o", "", "Idempotency-Key", "k", "Authorization", "Bearer bob"); r.header.Get("Idempotent-Replayed") != "" {
		t.Error("bob was given alice's answer")
	}
	b.wantRuns(2)
	b.wantProblem(b.post("/o", "", "Idempotency-Key", "k", "Authorization", ""), 400, httpidem.TypeNoCaller)
	b.wantRuns(2)

	routed := newBed(t, httpidem.Options{Scope: httpidem.WithRoute(httpidem.ByHeader("X-Tenant"))}, nil)
	routed.post("/o", "", "Idempotency-Key", "k", "X-Tenant", "t1")
	routed.post("/p", "", "Idempotency-Key", "k", "X-Tenant", "t1")
	routed.post("/o", "", "Idempotency-Key", "k", "X-Tenant", "t2")
	routed.wantRuns(3)
}

// TestJoin: no scope and key are joined like another pair.
func TestJoin(t *testing.T) {
	b := newBed(t, httpidem.Options{Scope: func(r *http.Request) string { return r.Header.Get("S") }}, nil)
	b.post("/o", "", "S", "ab", "Idempotency-Key", "c")
	b.post("/o", "", "S", "a", "Idempotency-Key", "bc")
	b.wantRuns(2)
}

// TestInFlight: a twin of a running request is told when to come again, or waits.
func TestInFlight(t *testing.T) {
	started, finish := make(chan struct{}, 1), make(chan struct{})
	slow := func(w http.ResponseWriter, _ *http.Request) {
		started <- struct{}{}
		<-finish
		w.WriteHeader(http.StatusAccepted)
	}
	b := newBed(t, httpidem.Options{}, slow)
	var first reply
	var wg sync.WaitGroup
	wg.Go(func() { first = b.post("/o", "", "Idempotency-Key", "k") })
	<-started
	twin := b.post("/o", "", "Idempotency-Key", "k")
	b.wantProblem(twin, 409, httpidem.TypeInFlight)
	if s := twin.header.Get("Retry-After"); s != "1" {
		t.Errorf("Retry-After is %q, want 1: the lease of 30 s says nothing about the handler", s)
	}
	patient := &bed{T: t}
	patient.serve(b.guard, httpidem.Options{RetryAfter: 7 * time.Second}, nil)
	if s := patient.post("/o", "", "Idempotency-Key", "k").header.Get("Retry-After"); s != "7" {
		t.Errorf("Retry-After is %q, want that of the options", s)
	}

	waiting := &bed{T: t}
	waiting.serve(b.guard, httpidem.Options{Wait: time.Minute}, slow)
	var second reply
	wg.Go(func() { second = waiting.post("/o", "", "Idempotency-Key", "k") })
	close(finish)
	wg.Wait()
	wantSame(t, first, second)
	b.wantRuns(1)
	waiting.wantRuns(0)
}

// TestNotFinal: after a status that asks for another try, the retry runs.
func TestNotFinal(t *testing.T) {
	for _, status := range []int{408, 409, 425, 429, 500, 502, 503, 504} {
		b := newBed(t, httpidem.Options{}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		b.post("/o", "", "Idempotency-Key", "k")
		if r := b.post("/o", "", "Idempotency-Key", "k"); r.status != status {
			t.Errorf("%d, want %d", r.status, status)
		}
		b.wantRuns(2)
	}
	for _, status := range []int{200, 204, 303, 400, 404, 422} {
		b := newBed(t, httpidem.Options{}, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		http.DefaultClient.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		wantSame(t, b.post("/o", "", "Idempotency-Key", "k"), b.post("/o", "", "Idempotency-Key", "k"))
		b.wantRuns(1)
	}
}

// TestPanic: a handler that panics leaves the key free.
func TestPanic(t *testing.T) {
	b := newBed(t, httpidem.Options{}, nil)
	fail := true
	b.serve(b.guard, httpidem.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		if fail {
			fail = false
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusOK)
	})
	req, _ := http.NewRequest(http.MethodPost, b.url, nil)
	req.Header = http.Header{"Idempotency-Key": {"k"}, "Authorization": {"Bearer alice"}}
	if res, err := http.DefaultClient.Do(req); err == nil {
		res.Body.Close()
		t.Error("the panic gave an answer")
	}
	if r := b.post("/", "", "Idempotency-Key", "k"); r.status != 200 {
		t.Errorf("after the panic: %d %s", r.status, r.body)
	}
	b.wantRuns(2)
}

func TestBodyTooLarge(t *testing.T) {
	b := newBed(t, httpidem.Options{MaxBody: 10}, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	})
	b.wantProblem(b.post("/o", "12345678901", "Idempotency-Key", "k"), 413, httpidem.TypeBodyTooLarge)
	b.wantRuns(0)
	if r := b.post("/o", "1234567890", "Idempotency-Key", "k"); r.body != "1234567890" {
		t.Errorf("the handler read %q", r.body)
	}
}

// TestAnswerTooLarge: a long answer is passed on whole, and its replay says why
// it can't be given again.
func TestAnswerTooLarge(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 5000)
	b := newBed(t, httpidem.Options{MaxAnswer: 1000}, func(w http.ResponseWriter, _ *http.Request) {
		for i := range 50 {
			_, _ = w.Write(long[i*100 : (i+1)*100])
		}
	})
	if r := b.post("/o", "", "Idempotency-Key", "k"); r.status != 200 || r.body != string(long) {
		t.Errorf("%d, %d bytes", r.status, len(r.body))
	}
	again := b.post("/o", "", "Idempotency-Key", "k")
	b.wantProblem(again, 409, httpidem.TypeNotStored)
	if !strings.Contains(again.body, "too large") {
		t.Errorf("%s", again.body)
	}
	b.wantRuns(1)
	// A guard that keeps less than MaxAnswer marks it, too.
	small := newBed(t, httpidem.Options{}, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(long) })
	small.guard.MaxResult = 100
	if r := small.post("/o", "", "Idempotency-Key", "k"); r.body != string(long) {
		t.Errorf("%d %d bytes", r.status, len(r.body))
	}
	small.wantProblem(small.post("/o", "", "Idempotency-Key", "k"), 409, httpidem.TypeNotStored)
	small.wantRuns(1)
}

// TestStream: what is flushed passes at once, its key marked before, and the
// handler's context goes on.
func TestStream(t *testing.T) {
	seen := make(chan struct{})
	var cause error
	b := newBed(t, httpidem.Options{}, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "one ")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("flush: %v", err)
		}
		<-seen
		cause = context.Cause(r.Context())
		_, _ = io.WriteString(w, "two")
	})
	req, _ := http.NewRequest(http.MethodPost, b.url, nil)
	req.Header = http.Header{"Idempotency-Key": {"k"}, "Authorization": {"Bearer alice"}}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	head := make([]byte, 4)
	if _, err := io.ReadFull(res.Body, head); err != nil || string(head) != "one " {
		t.Fatalf("%q %v", head, err)
	}
	b.wantProblem(b.post("/", "", "Idempotency-Key", "k"), 409, httpidem.TypeNotStored)
	close(seen)
	if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "two" {
		t.Errorf("%q %v", rest, err)
	}
	if cause != nil {
		t.Errorf("the handler's context ended: %v", cause)
	}
	b.wantRuns(1)
}

// TestHijack: a connection that the handler takes over is marked before.
func TestHijack(t *testing.T) {
	b := newBed(t, httpidem.Options{}, func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Errorf("hijack: %v", err)
			return
		}
		_, _ = buf.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
		_ = buf.Flush()
		_ = conn.Close()
	})
	if r := b.post("/", "", "Idempotency-Key", "k"); r.body != "hi" {
		t.Errorf("%d %q", r.status, r.body)
	}
	b.wantProblem(b.post("/", "", "Idempotency-Key", "k"), 409, httpidem.TypeNotStored)
	b.wantRuns(1)
}

// TestStoreDown: 503 and no run by default; through, with a marker, by choice.
func TestStoreDown(t *testing.T) {
	down := errors.New("connection refused")
	b := newBed(t, httpidem.Options{}, nil)
	b.guard.Before = func(context.Context, string) error { return down }
	b.wantProblem(b.post("/o", "", "Idempotency-Key", "k"), 503, httpidem.TypeUnavailable)
	b.wantRuns(0)
	open := newBed(t, httpidem.Options{StoreDown: httpidem.LetThrough}, nil)
	open.guard.Before = b.guard.Before
	if r := open.post("/o", "", "Idempotency-Key", "k"); r.status != 201 || r.header.Get("Idempotency-Unguarded") != "true" {
		t.Errorf("%d %v", r.status, r.header)
	}
	open.wantRuns(1)
	if s := open.m.Stats(); s.Unguarded != 1 {
		t.Errorf("%+v", s)
	}
}

// TestCommitFails: a client never sees an answer that was not stored.
func TestCommitFails(t *testing.T) {
	b := newBed(t, httpidem.Options{}, nil)
	b.guard.Before = func(_ context.Context, call string) error {
		if call == "Commit" {
			return errors.New("disk on fire")
		}
		return nil
	}
	r := b.post("/o", "", "Idempotency-Key", "k")
	b.wantProblem(r, 503, httpidem.TypeUnavailable)
	if strings.Contains(r.body, "order 1") || r.header.Get("Location") != "" {
		t.Errorf("the answer leaked: %v %s", r.header, r.body)
	}
}

// TestClientGone: the answer of a request whose client hung up is stored.
func TestClientGone(t *testing.T) {
	ctx, hangUp := context.WithCancel(context.Background())
	b := newBed(t, httpidem.Options{}, func(w http.ResponseWriter, r *http.Request) {
		hangUp()
		<-r.Context().Done()
		_, _ = io.WriteString(w, "paid")
	})
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, b.url, nil)
	req.Header = http.Header{"Idempotency-Key": {"k"}, "Authorization": {"Bearer alice"}}
	if res, err := http.DefaultClient.Do(req); err == nil {
		res.Body.Close()
		t.Error("the client did not hang up")
	}
	var again reply
	for again.status != 200 { // the first handler may be about to return
		again = b.post("/", "", "Idempotency-Key", "k")
	}
	if again.body != "paid" || again.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("%d %q", again.status, again.body)
	}
	b.wantRuns(1)
}

// TestGaveUp: a request that its client gave up before its turn came does not run,
// and is no sign of a store that is down.
func TestGaveUp(t *testing.T) {
	b := newBed(t, httpidem.Options{Scope: httpidem.Everybody}, nil)
	ctx, giveUp := context.WithCancel(t.Context())
	giveUp()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", nil)
	r.Header.Set("Idempotency-Key", "k")
	b.m.Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it ran") })).ServeHTTP(httptest.NewRecorder(), r)
	if s := b.m.Stats(); s.Unavailable != 0 || s.Run != 0 {
		t.Errorf("%+v", s)
	}
	if first := b.post("/", "", "Idempotency-Key", "k"); first.status != 201 {
		t.Errorf("the retry: %d %s", first.status, first.body)
	}
}

// TestLeaseLost: a handler whose key was taken over is canceled and its answer
// is not given.
func TestLeaseLost(t *testing.T) {
	var b *bed
	b = newBed(t, httpidem.Options{Scope: httpidem.Everybody}, func(w http.ResponseWriter, r *http.Request) {
		b.guard.Steal(keys.Join("everybody", "k"))
		<-r.Context().Done()
		_, _ = io.WriteString(w, "late")
	})
	b.guard.Lease = 100 * time.Millisecond
	b.wantProblem(b.post("/", "", "Idempotency-Key", "k"), 409, httpidem.TypeLeaseLost)
	if s := b.m.Stats(); s.LeaseLost != 1 {
		t.Errorf("%+v", s)
	}
}

func TestBadOptions(t *testing.T) {
	_, err := httpidem.New(nil, httpidem.Options{MaxKeyLen: -1, MaxBody: -1, MaxAnswer: -1, Wait: -1, CallLimit: -1, StoreDown: 9})
	for _, part := range []string{"MaxKeyLen", "MaxBody", "MaxAnswer", "Wait", "CallLimit", "StoreDown"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v doesn't name %s", err, part)
		}
	}
}
