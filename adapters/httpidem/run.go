package httpidem

import (
	"errors"
	"net/http"
	"time"

	"github.com/firstseen/firstseen/adapters/intents"
	"github.com/firstseen/firstseen/adapters/internal/idem"
	"github.com/firstseen/firstseen/dedup"
)

// A run is one handler at work on a claim.
type run struct {
	*request
	*idem.Run
	rec *recorder
}

// run runs the handler and ends the claim. The client gets its answer when the
// key is marked, and not before.
func (q *request) run(claim dedup.Claim) {
	u := &run{request: q, Run: q.op.Run(claim)}
	settled, err := u.Begin()
	switch {
	case errors.Is(err, idem.ErrNotCommitted):
		q.notCommitted(err)
		return
	case errors.Is(err, intents.ErrInDoubt):
		q.inDoubt()
		return
	case err != nil:
		q.storeDown(err)
		return
	case settled != nil:
		q.replay(dedup.Claim{Result: settled}, nil)
		return
	}
	u.rec = newRecorder(q.w, q.m.o.MaxAnswer, u.letThrough)
	ctx, cancel := u.Start()
	defer cancel(nil)
	done := false
	defer func() {
		if !done {
			u.Abandon()
		}
	}()
	q.next.ServeHTTP(u.rec, q.r.WithContext(ctx))
	done = true
	u.finish()
}

// finish ends the claim of a handler that has returned, and sends its answer.
func (u *run) finish() {
	status := u.rec.statusOr200()
	switch {
	case u.Ended(): // letThrough has marked the key, or told the client why not
	case !u.m.o.Storable(status):
		u.NotFinal()
		if !u.rec.passing {
			u.rec.send()
		}
	default:
		if u.commit(idem.Stored) {
			u.rec.send()
		}
	}
}

// letThrough marks the key of an answer that can't be kept back.
func (u *run) letThrough(status int, why idem.State) bool {
	if status != http.StatusSwitchingProtocols && !u.m.o.Storable(status) {
		return true // finish releases the key
	}
	return u.commit(why)
}

// commit marks the key. Where it can't, the client is told, and commit returns
// false.
func (u *run) commit(s idem.State) bool {
	record := idem.AppendHead(make([]byte, 0, idem.HeadSize+answerHead+512+len(u.rec.body)), s, u.op.Fingerprint)
	if s == idem.Stored {
		a := answer{status: u.rec.statusOr200(), header: u.rec.header, body: u.rec.body}
		record = a.append(record, u.m.o.Headers)
	}
	err := u.Commit(record)
	if err != nil {
		u.notCommitted(err)
	}
	return err == nil
}

// settledAnswer appends the answer of an outcome that was settled by hand.
func (m *Middleware) settledAnswer(b []byte, o intents.Outcome) []byte {
	a := answer{status: o.Status, header: http.Header{"Content-Type": {o.ContentType}}, body: o.Body}
	return a.append(b, m.o.Headers)
}

// notCommitted tells the client that the operation was run and its key is not
// marked.
func (q *request) notCommitted(err error) {
	if errors.Is(err, dedup.ErrLeaseLost) {
		Problem{
			TypeLeaseLost, "Another request took over", http.StatusConflict,
			"the operation took longer than it may, and another request with this idempotency key took over; retry to get its answer",
		}.write(q.w)
		return
	}
	q.m.counts.unavailable.Add(1)
	retryAfter(q.w, time.Second)
	q.unavailable("the operation was run, and its answer could not be stored; retry with the same key")
}

func (q *request) inDoubt() {
	Problem{
		TypeInDoubt, "Outcome in doubt", http.StatusConflict,
		"the service stopped while it worked on a request with this idempotency key; until its outcome is settled it is neither run again nor answered",
	}.write(q.w)
}
