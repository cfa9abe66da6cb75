package httpidem_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/firstseen/firstseen/adapters/httpidem"
	"github.com/firstseen/firstseen/dedup"
)

func openIntents(t *testing.T, path string) *httpidem.IntentFile {
	t.Helper()
	i, err := httpidem.OpenIntentFile(path)
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
	intents := openIntents(t, path)
	b := newBed(t, httpidem.Options{Intents: intents}, nil)
	crash := func(key string) { // the intent of a handler that never came back
		t.Helper()
		in := httpidem.Intent{Key: append([]byte("\x05scope"), key...), Name: key, Begun: time.Now()}
		if _, err := intents.Begin(context.Background(), in); err != nil {
			t.Fatal(err)
		}
	}
	scope := func(*http.Request) string { return "scope" }
	b.serve(b.guard, httpidem.Options{Intents: intents, Scope: scope}, nil)

	crash("never")
	b.wantProblem(b.post("/o", "", "Idempotency-Key", "never"), 409, httpidem.TypeInDoubt)
	b.wantProblem(b.post("/o", "", "Idempotency-Key", "never"), 409, httpidem.TypeInDoubt)
	b.wantRuns(0)
	resolve := func(key string, o httpidem.Outcome) {
		t.Helper()
		if err := intents.Resolve(context.Background(), append([]byte("\x05scope"), key...), o); err != nil {
			t.Fatal(err)
		}
	}
	resolve("never", httpidem.Outcome{Kind: httpidem.NeverHappened})
	first := b.post("/o", "", "Idempotency-Key", "never")
	wantSame(t, first, b.post("/o", "", "Idempotency-Key", "never"))
	b.wantRuns(1)

	crash("unknown answer")
	resolve("unknown answer", httpidem.Outcome{Kind: httpidem.Happened})
	b.wantProblem(b.post("/o", "", "Idempotency-Key", `"unknown answer"`), 409, httpidem.TypeNotStored)
	b.wantRuns(1)
	if left, err := intents.List(context.Background()); err != nil || len(left) != 0 {
		t.Errorf("left over: %+v, %v", left, err)
	}
}

// TestSettledAnswer: a request whose effect was found to have happened gets the
// answer that was given by hand, and so do its retries.
func TestSettledAnswer(t *testing.T) {
	intents := openIntents(t, filepath.Join(t.TempDir(), "intents"))
	b := newBed(t, httpidem.Options{}, nil)
	asked := 0
	o := httpidem.Options{Intents: intents, Settle: func(_ *http.Request, in httpidem.Intent) (httpidem.Outcome, error) {
		asked++
		if asked == 1 {
			return httpidem.Outcome{}, errors.New("the bank does not answer")
		}
		return httpidem.Outcome{Kind: httpidem.Happened, Status: 200, ContentType: "text/plain", Body: []byte("paid: " + in.Name)}, nil
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

// TestIntentFile: what was begun is there after a reopening, what ended is not,
// and a second process is kept out.
func TestIntentFile(t *testing.T) {
	ctx, path := context.Background(), filepath.Join(t.TempDir(), "intents")
	i := openIntents(t, path)
	if _, err := httpidem.OpenIntentFile(path); !errors.Is(err, dedup.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	var wg sync.WaitGroup
	for n := range 64 {
		wg.Go(func() {
			key := fmt.Appendf(nil, "key %d", n)
			if _, err := i.Begin(ctx, httpidem.Intent{Key: key, Begun: time.Unix(int64(n), 0)}); err != nil {
				t.Error(err)
			}
			if _, err := i.Begin(ctx, httpidem.Intent{Key: key}); !errors.Is(err, httpidem.ErrInDoubt) {
				t.Errorf("begun twice: %v", err)
			}
			if n%2 == 0 {
				if err := i.End(ctx, key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := i.Resolve(ctx, []byte("key 1"), httpidem.Outcome{Kind: httpidem.Happened, Status: 201}); err != nil {
		t.Error(err)
	}
	if err := i.Resolve(ctx, []byte("key 0"), httpidem.Outcome{Kind: httpidem.NeverHappened}); !errors.Is(err, httpidem.ErrNoIntent) {
		t.Error(err)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Begin(ctx, httpidem.Intent{Key: []byte("x")}); !errors.Is(err, dedup.ErrClosed) {
		t.Error(err)
	}
	all, err := openIntents(t, path).List(ctx)
	if err != nil || len(all) != 32 || all[0].Outcome.Status != 201 || string(all[0].Key) != "key 1" {
		t.Errorf("%d intents, the first is %+v, %v", len(all), all[0], err)
	}
}

// TestIntentFileCompacts: a file of a service that never stops does not grow.
func TestIntentFileCompacts(t *testing.T) {
	ctx, path := context.Background(), filepath.Join(t.TempDir(), "intents")
	i := openIntents(t, path)
	if _, err := i.Begin(ctx, httpidem.Intent{Key: []byte("stays")}); err != nil {
		t.Fatal(err)
	}
	name := string(make([]byte, 50_000))
	for n := range 200 {
		key := fmt.Appendf(nil, "%d", n)
		if _, err := i.Begin(ctx, httpidem.Intent{Key: key, Name: name}); err != nil {
			t.Fatal(err)
		}
		if err := i.End(ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Size() > 4<<20 {
		t.Errorf("%d bytes, %v", st.Size(), err)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	if all, err := openIntents(t, path).List(ctx); err != nil || len(all) != 1 || string(all[0].Key) != "stays" {
		t.Errorf("%d intents, %v", len(all), err)
	}
}

// TestIntentFileDamage: the file cut at any length opens with what was whole; a
// flipped bit before the last frame is damage and is told.
func TestIntentFileDamage(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	path := filepath.Join(dir, "intents")
	i := openIntents(t, path)
	for n := range 3 {
		if _, err := i.Begin(ctx, httpidem.Intent{Key: []byte{byte('a' + n)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	frame := 8 + int(binary.LittleEndian.Uint32(whole))
	open := func(data []byte) (int, error) {
		t.Helper()
		p := filepath.Join(dir, "damaged")
		if err := os.WriteFile(p, data, 0o600); err != nil {
			t.Fatal(err)
		}
		i, err := httpidem.OpenIntentFile(p)
		if err != nil {
			return 0, err
		}
		defer i.Close()
		all, err := i.List(ctx)
		return len(all), err
	}
	for size := range len(whole) {
		if n, err := open(whole[:size]); err != nil || n != size/frame {
			t.Fatalf("cut to %d bytes: %d intents, %v", size, n, err)
		}
	}
	if n, err := open(append(whole, make([]byte, 100)...)); err != nil || n != 3 {
		t.Errorf("with zeroes behind it: %d, %v", n, err)
	}
	for at := 8; at < frame; at++ {
		data := append([]byte(nil), whole...)
		data[at] ^= 4
		if _, err := open(data); !errors.Is(err, dedup.ErrCorrupt) {
			t.Fatalf("a bit flipped at %d: %v", at, err)
		}
	}
}

// TestIntentEnds: intents end with their answers, also with those not stored.
func TestIntentEnds(t *testing.T) {
	intents := openIntents(t, filepath.Join(t.TempDir(), "intents"))
	status := 503
	b := newBed(t, httpidem.Options{}, nil)
	b.serve(b.guard, httpidem.Options{Intents: intents}, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "x")
	})
	b.post("/", "", "Idempotency-Key", "k")
	status = 200
	if r := b.post("/", "", "Idempotency-Key", "k"); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
	b.wantRuns(2)
	if all, err := intents.List(context.Background()); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}
