package httpidem

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/firstseen/firstseen/adapters/intents"
	"github.com/firstseen/firstseen/adapters/internal/idem"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/dedup/keys"
)

// A Middleware runs the handler of each operation once and gives its answer to
// every retry. New makes one; it may be used by any number of goroutines.
type Middleware struct {
	o       Options
	methods map[string]bool
	config  idem.Config
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
	m := &Middleware{o: o, methods: map[string]bool{}}
	m.config.Guard, m.config.Intents, m.config.Logger = guard, o.Intents, o.Logger
	m.config.Wait, m.config.RetryAfter, m.config.CallLimit = o.Wait, o.RetryAfter, o.CallLimit
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
	key, err := idem.ParseKey(r.Header.Values(m.o.Header), m.o.Header, m.o.MaxKeyLen)
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
	q := &request{m: m, next: next, w: w, r: r}
	q.op = idem.Operation{
		Config: &m.config, Context: r.Context(), Key: keys.Join(scope, key), Name: r.Method + " " + r.URL.EscapedPath() + " " + key,
		Fingerprint: fingerprintOf(r, body), Answer: m.settledAnswer,
	}
	if m.o.Settle != nil {
		q.op.Settle = func(in intents.Intent) (intents.Outcome, error) { return m.o.Settle(r, in) }
	}
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

// A request is one with an idempotency key on its way through the middleware.
type request struct {
	m    *Middleware
	next http.Handler
	w    http.ResponseWriter
	r    *http.Request
	op   idem.Operation
}

// decide asks the guard and answers the client.
func (q *request) decide() {
	claim, err := q.op.Ask()
	switch {
	case claim.Verdict == dedup.Fresh:
		q.run(claim)
	case claim.Verdict == dedup.Duplicate:
		q.replay(claim, err)
	case err != nil || claim.Verdict != dedup.InFlight:
		q.storeDown(err)
	default:
		q.inFlight(claim)
	}
}

func (q *request) inFlight(claim dedup.Claim) {
	q.m.counts.inFlight.Add(1)
	retryAfter(q.w, q.op.ComeAgain(claim))
	Problem{
		TypeInFlight, "Request in progress", http.StatusConflict,
		"another request with this idempotency key is being processed; retry later to get its answer",
	}.write(q.w)
}

// replay answers a request whose operation has been done.
func (q *request) replay(claim dedup.Claim, err error) {
	var a answer
	payload, err := q.op.Read(claim, err)
	if err == nil {
		if a, err = decodeAnswer(payload); err != nil {
			err = q.op.Unread(err)
		}
	}
	switch {
	case err == nil:
		q.m.config.Counts.Replayed.Add(1)
		a.replay(q.w)
	case errors.Is(err, idem.ErrMismatch):
		Problem{
			TypeMismatch, "Idempotency key used for another request", http.StatusUnprocessableEntity,
			"this idempotency key belongs to a request with another method, path, query, content type or body; use a new key for a new operation",
		}.write(q.w)
	default:
		Problem{
			TypeNotStored, "Done, answer not stored", http.StatusConflict,
			"the operation with this idempotency key was completed, and its answer can't be given again: " + err.Error(),
		}.write(q.w)
	}
}

// storeDown answers a request about whose key nothing is known.
func (q *request) storeDown(err error) {
	if q.m.o.StoreDown == LetThrough && q.r.Context().Err() == nil {
		q.m.counts.unguarded.Add(1)
		q.m.o.Logger.Error("a request runs unguarded", "request", q.op.Name, "error", err)
		q.w.Header().Set("Idempotency-Unguarded", "true")
		q.next.ServeHTTP(q.w, q.r)
		return
	}
	if q.r.Context().Err() != nil { // the client has gone: that says nothing about the store
		q.unavailable("the request was given up before its operation began")
		return
	}
	q.m.counts.unavailable.Add(1)
	q.m.o.Logger.Error("the guard can't be asked", "request", q.op.Name, "error", err)
	retryAfter(q.w, time.Second)
	q.unavailable("whether this operation was done before can't be found out at the moment; it was not run")
}

func (q *request) unavailable(detail string) {
	Problem{TypeUnavailable, "Idempotency store not available", http.StatusServiceUnavailable, detail}.write(q.w)
}
