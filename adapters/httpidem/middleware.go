package httpidem

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/firstseen/firstseen/dedup"
)

// A Middleware runs the handler of each operation once and gives its answer to
// every retry. New makes one; it may be used by any number of goroutines.
type Middleware struct {
	guard   dedup.Guard
	o       Options
	methods map[string]bool
	counts  counts
}

// New returns a middleware on a guard, or one error that names every problem of
// the options. The guard must keep results of at least Options.MaxAnswer and
// about 1 KiB for headers; one that keeps fewer marks longer answers as too large.
func New(guard dedup.Guard, o Options) (*Middleware, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	m := &Middleware{guard: guard, o: o, methods: map[string]bool{}}
	for _, method := range o.Methods {
		m.methods[method] = true
	}
	return m, nil
}

// Wrap returns next behind the middleware. It has the shape that routers expect:
// func(http.Handler) http.Handler.
func (m *Middleware) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.serve(next, w, r) })
}

func (m *Middleware) serve(next http.Handler, w http.ResponseWriter, r *http.Request) {
	if !m.methods[r.Method] {
		next.ServeHTTP(w, r)
		return
	}
	key, err := parseKey(r.Header, m.o.Header, m.o.MaxKeyLen)
	if err != nil {
		m.refuse(w, Problem{TypeKeyInvalid, "Idempotency key not valid", http.StatusBadRequest, err.Error()})
		return
	}
	if key == "" {
		m.serveWithoutKey(next, w, r)
		return
	}
	scope := m.o.Scope(r)
	if scope == "" {
		m.refuse(w, Problem{
			TypeNoCaller, "Caller not known", http.StatusBadRequest,
			"the request names no caller, and idempotency keys belong to one",
		})
		return
	}
	body, err := readBody(r, m.o.MaxBody)
	switch {
	case errors.Is(err, errBodyTooLarge):
		m.refuse(w, Problem{
			TypeBodyTooLarge, "Request body too large", http.StatusRequestEntityTooLarge,
			fmt.Sprintf("a request with an idempotency key may have a body of at most %d bytes", m.o.MaxBody),
		})
		return
	case err != nil:
		m.refuse(w, Problem{TypeBodyUnread, "Request body not readable", http.StatusBadRequest, "the request body could not be read"})
		return
	}
	q := &request{m: m, next: next, w: w, r: r, key: join(scope, key), name: r.Method + " " + r.URL.EscapedPath() + " " + key}
	q.fingerprint = fingerprintOf(r, body)
	q.decide()
}

func (m *Middleware) serveWithoutKey(next http.Handler, w http.ResponseWriter, r *http.Request) {
	if m.o.Required {
		m.refuse(w, Problem{
			TypeKeyMissing, "Idempotency key missing", http.StatusBadRequest,
			fmt.Sprintf("this operation takes the header %s with a value that is new for each operation and the same for its retries", m.o.Header),
		})
		return
	}
	m.counts.withoutKey.Add(1)
	next.ServeHTTP(w, r)
}

func (m *Middleware) refuse(w http.ResponseWriter, p Problem) {
	m.counts.refused.Add(1)
	p.write(w)
}

// join writes scope and key so that no two pairs are written alike.
func join(scope, key string) []byte {
	b := binary.AppendUvarint(make([]byte, 0, len(scope)+len(key)+2), uint64(len(scope)))
	return append(append(b, scope...), key...)
}

// A request is one with an idempotency key on its way through the middleware.
type request struct {
	m           *Middleware
	next        http.Handler
	w           http.ResponseWriter
	r           *http.Request
	key         []byte // the guard's
	name        string
	fingerprint fingerprint
}

// Pauses between two looks at a twin that is running.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = 100 * time.Millisecond
)

// decide asks the guard until it has an answer for the client.
func (q *request) decide() {
	deadline := time.Now().Add(q.m.o.Wait)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		claim, err := q.m.guard.Claim(q.r.Context(), q.key)
		switch {
		case claim.Verdict == dedup.Fresh:
			q.run(claim)
			return
		case claim.Verdict == dedup.Duplicate:
			q.replay(claim, err)
			return
		case err != nil || claim.Verdict != dedup.InFlight:
			q.storeDown(err)
			return
		}
		left := time.Until(deadline)
		if left <= 0 {
			q.inFlight(claim)
			return
		}
		// Many twins that wait together should not ask together.
		timer := time.NewTimer(min(left, pause/2+rand.N(pause)))
		select {
		case <-q.r.Context().Done():
			timer.Stop()
			q.inFlight(claim)
			return
		case <-timer.C:
		}
	}
}

func (q *request) inFlight(claim dedup.Claim) {
	q.m.counts.inFlight.Add(1)
	retryAfter(q.w, time.Until(claim.Expires))
	Problem{
		TypeInFlight, "Request in progress", http.StatusConflict,
		"another request with this idempotency key is being processed; retry later to get its answer",
	}.write(q.w)
}

// replay answers a request whose operation has been done.
func (q *request) replay(claim dedup.Claim, err error) {
	notStored := func(why string) {
		q.m.counts.notStored.Add(1)
		Problem{
			TypeNotStored, "Done, answer not stored", http.StatusConflict,
			"the operation with this idempotency key was completed, and its answer can't be given again: " + why,
		}.write(q.w)
	}
	switch {
	case errors.Is(err, dedup.ErrResultTooLarge):
		notStored("it was too large to be stored")
		return
	case err != nil || len(claim.Result) == 0:
		q.m.o.Logger.Warn("httpidem: a key is marked and has no answer", "request", q.name, "error", err)
		notStored("it is lost")
		return
	}
	a, err := decodeAnswer(claim.Result)
	if err != nil {
		q.m.o.Logger.Error("httpidem: stored answer not readable", "request", q.name, "error", err)
		notStored("it is not readable")
		return
	}
	if a.state != settled && a.fingerprint != q.fingerprint {
		q.m.counts.mismatches.Add(1)
		Problem{
			TypeMismatch, "Idempotency key used for another request", http.StatusUnprocessableEntity,
			"this idempotency key belongs to a request with another method, path, query, content type or body; use a new key for a new operation",
		}.write(q.w)
		return
	}
	switch a.state {
	case stored:
		q.m.counts.replayed.Add(1)
		a.replay(q.w)
	case streamed:
		notStored("it was streamed")
	case tooLarge:
		notStored("it was too large to be stored")
	case settled:
		notStored("its outcome was settled by hand")
	}
}

// storeDown answers a request about whose key nothing is known.
func (q *request) storeDown(err error) {
	if q.m.o.StoreDown == LetThrough && q.r.Context().Err() == nil {
		q.m.counts.unguarded.Add(1)
		q.m.o.Logger.Error("httpidem: a request runs unguarded", "request", q.name, "error", err)
		q.w.Header().Set("Idempotency-Unguarded", "true")
		q.next.ServeHTTP(q.w, q.r)
		return
	}
	q.m.counts.unavailable.Add(1)
	q.m.o.Logger.Error("httpidem: the guard can't be asked", "request", q.name, "error", err)
	retryAfter(q.w, time.Second)
	q.unavailable("whether this operation was done before can't be found out at the moment; it was not run")
}

func (q *request) unavailable(detail string) {
	Problem{TypeUnavailable, "Idempotency store not available", http.StatusServiceUnavailable, detail}.write(q.w)
}

// ending returns a context for a call that ends a claim: the client's going away
// must not leave the key in flight, or its effect unmarked.
func (q *request) ending() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(q.r.Context()), q.m.o.CallLimit)
}
