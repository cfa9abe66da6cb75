package httpidem_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/firstseen/firstseen/adapters/httpidem"
	"github.com/firstseen/firstseen/adapters/intents"
	"github.com/firstseen/firstseen/dedup/keys"
)

func openIntents(t *testing.T, path string) *intents.File {
	t.Helper()
	i, err := intents.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.Close() })
	return i
}

// TestInDoubt: a key whose handler was running when the process died is neither
// run again nor answered until somebody says what happened.
func TestInDoubt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "intents")
	store := openIntents(t, path)
	b := newBed(t, httpidem.Options{Intents: store}, nil)
	crash := func(key string) { // the intent of a handler that never came back
		t.Helper()
		in := intents.Intent{Key: keys.Join("scope", key), Name: key, Begun: time.Now()}
		if _, err := store.Begin(context.Background(), in); err != nil {
			t.Fatal(err)
		}
	}
	scope := func(*http.Request) string { return "scope" }
	b.serve(b.guard, httpidem.Options{Intents: store, Scope: scope}, nil)

	crash("never")
	b.wantProblem(b.post("/o", "", "Idempotency-Key", "never"), 409, httpidem.TypeInDoubt)
	b.wantProblem(b.post("/o", "", "Idempotency-Key", "never"), 409, httpidem.TypeInDoubt)
	b.wantRuns(0)
	resolve := func(key string, o intents.Outcome) {
		t.Helper()
		if err := store.Resolve(context.Background(), keys.Join("scope", key), o); err != nil {
			t.Fatal(err)
		}
	}
	resolve("never", intents.Outcome{Kind: intents.NeverHappened})
	first := b.post("/o", "", "Idempotency-Key", "never")
	wantSame(t, first, b.post("/o", "", "Idempotency-Key", "never"))
	b.wantRuns(1)

	crash("unknown answer")
	resolve("unknown answer", intents.Outcome{Kind: intents.Happened})
	b.wantProblem(b.post("/o", "", "Idempotency-Key", `"unknown answer"`), 409, httpidem.TypeNotStored)
	b.wantRuns(1)
	if left, err := store.List(context.Background()); err != nil || len(left) != 0 {
		t.Errorf("left over: %+v, %v", left, err)
	}
}

// TestSettledAnswer: a request whose effect was found to have happened gets the
// answer that was given by hand, and so do its retries.
func TestSettledAnswer(t *testing.T) {
	store := openIntents(t, filepath.Join(t.TempDir(), "intents"))
	b := newBed(t, httpidem.Options{}, nil)
	asked := 0
	o := httpidem.Options{Intents: store, Settle: func(_ *http.Request, in intents.Intent) (intents.Outcome, error) {
		asked++
		if asked == 1 {
			return intents.Outcome{}, errors.New("the bank does not answer")
		}
		return intents.Outcome{Kind: intents.Happened, Status: 200, ContentType: "text/plain", Body: []byte("paid: " + in.Name)}, nil
	}}
	b.serve(b.guard, o, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	req, _ := http.NewRequest(http.MethodPost, b.url+"/pay", nil)
	req.Header = http.Header{"Idempotency-Key": {"k"}, "Authorization": {"Bearer alice"}}
	if res, err := http.DefaultClient.Do(req); err == nil {
		res.Body.Close()
		t.Fatal("the panic gave an answer")
	}
	b.wantProblem(b.post("/pay", "", "Idempotency-Key", "k"), 409, httpidem.TypeInDoubt)
	for range 2 {
		if r := b.post("/pay", "", "Idempotency-Key", "k"); r.status != 200 || r.body != "paid: POST /pay k" {
			t.Errorf("%d %s", r.status, r.body)
		}
	}
	b.wantRuns(1)
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
}

// TestIntentEnds: intents end with their answers, also with those not stored.
func TestIntentEnds(t *testing.T) {
	store := openIntents(t, filepath.Join(t.TempDir(), "intents"))
	status := 503
	b := newBed(t, httpidem.Options{}, nil)
	b.serve(b.guard, httpidem.Options{Intents: store}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "x")
	})
	b.post("/", "", "Idempotency-Key", "k")
	status = 200
	if r := b.post("/", "", "Idempotency-Key", "k"); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
	b.wantRuns(2)
	if all, err := store.List(context.Background()); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}
