package httpidem_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firstseen/firstseen/adapters/httpidem"
	"github.com/firstseen/firstseen/adapters/intents"
	"github.com/firstseen/firstseen/engine"
)

// The child of TestKilled serves in the directory that this variable names.
const (
	childDir     = "HTTPIDEM_TEST_DIR"
	childIntents = "HTTPIDEM_TEST_INTENTS"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := serveChild(dir, os.Getenv(childIntents) != ""); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serveChild appends a line "begin KEY" before each effect and "effect KEY" with
// it, in files that outlive it, and serves until it is killed.
func serveChild(dir string, withIntents bool) error {
	e, err := engine.Open(filepath.Join(dir, "keys"), engine.Options{Window: time.Hour, Lease: time.Second, MaxResult: 4096, MinFreeDisk: -1})
	if err != nil {
		return err
	}
	o := httpidem.Options{Scope: httpidem.Everybody, Wait: 5 * time.Second}
	if withIntents {
		if o.Intents, err = intents.Open(filepath.Join(dir, "intents")); err != nil {
			return err
		}
	}
	m, err := httpidem.New(e, o)
	if err != nil {
		return err
	}
	ledger, err := os.OpenFile(filepath.Join(dir, "ledger"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	return http.Serve(l, m.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Header.Get("Idempotency-Key")
		pause := func() { <-time.After(time.Duration(rand.IntN(20)) * time.Millisecond) }
		_, _ = fmt.Fprintf(ledger, "begin %s\n", key)
		pause()
		_, _ = fmt.Fprintf(ledger, "effect %s\n", key)
		pause()
		_, _ = fmt.Fprintf(w, "done %s %d", key, rand.Uint64())
	})))
}

// A killable is a server in a child process.
type killable struct {
	cmd *exec.Cmd
	url string
}

func startChild(t *testing.T, dir string, withIntents bool) *killable {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	if withIntents {
		cmd.Env = append(cmd.Env, childIntents+"=1")
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the child said %q, %v", line, err)
	}
	return &killable{cmd: cmd, url: "http://" + strings.TrimSpace(line)}
}

func (k *killable) kill() {
	_ = k.cmd.Process.Kill()
	_ = k.cmd.Wait()
}

// TestKilled: a server that is killed with -9 in the middle loses no effect that a
// client was told of and gives no client two answers. Without intents an effect
// may come twice where a handler was running; with them none does, and what nobody
// knows stays in doubt.
func TestKilled(t *testing.T) {
	kills := 8
	if os.Getenv("FIRSTSEEN_SERVERS") == "long" {
		kills = 50
	}
	for _, withIntents := range []bool{false, true} {
		t.Run(fmt.Sprintf("intents=%v", withIntents), func(t *testing.T) { killed(t, kills, withIntents) })
	}
}

func killed(t *testing.T, kills int, withIntents bool) {
	dir := t.TempDir()
	answers, doubts := map[string]string{}, map[string]bool{}
	for round := range kills {
		child := startChild(t, dir, withIntents)
		stop := time.AfterFunc(time.Duration(100+rand.IntN(400))*time.Millisecond, func() { _ = child.cmd.Process.Kill() })
		for i := 0; ; i++ {
			key := fmt.Sprintf("k-%d-%d", round, i)
			if !ask(t, child.url, key, answers, doubts) || i > 0 && !ask(t, child.url, fmt.Sprintf("k-%d-%d", round, i-1), answers, doubts) {
				break
			}
		}
		stop.Stop()
		child.kill()
	}
	// Every key is asked for once more by a server that lives.
	child := startChild(t, dir, withIntents)
	defer child.kill()
	begun, _ := readLedger(t, dir)
	for key := range begun {
		if !ask(t, child.url, key, answers, doubts) {
			t.Fatalf("%s: no answer from a server that lives", key)
		}
	}
	begun, effects := readLedger(t, dir)
	twice := 0
	for key, n := range effects {
		if n > 1 {
			twice++
		}
		if n > 1 && (withIntents || begun[key] < 2) {
			t.Errorf("%s had %d effects", key, n)
		}
	}
	for key := range answers {
		if effects[key] == 0 {
			t.Errorf("%s was answered, and its effect is not there", key)
		}
	}
	if withIntents && len(doubts) == 0 || !withIntents && len(doubts) > 0 {
		t.Errorf("%d keys in doubt", len(doubts))
	}
	t.Logf("%d kills: %d keys, %d effects twice, %d in doubt", kills, len(begun), twice, len(doubts))
}

// ask sends a request and reports whether the server answered. An answer that was
// given before must be the same.
func ask(t *testing.T, url, key string, answers map[string]string, doubts map[string]bool) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Idempotency-Key", key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		return false
	}
	if res.StatusCode == http.StatusConflict {
		var p httpidem.Problem
		if err := json.Unmarshal(body, &p); err != nil || p.Type != httpidem.TypeInDoubt {
			t.Errorf("%s: %s", key, body)
		}
		if before, ok := answers[key]; ok {
			t.Errorf("%s is in doubt after the answer %q", key, before)
		}
		doubts[key] = true
		return true
	}
	if before, ok := answers[key]; res.StatusCode != 200 || ok && before != string(body) {
		t.Errorf("%s: %d %q, before %q", key, res.StatusCode, body, before)
	}
	answers[key] = string(body)
	return true
}

// readLedger counts how often each key's handler began and had its effect.
func readLedger(t *testing.T, dir string) (begun, effects map[string]int) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "ledger"))
	if err != nil {
		t.Fatal(err)
	}
	begun, effects = map[string]int{}, map[string]int{}
	for line := range strings.Lines(string(data)) {
		what, key, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch what {
		case "begin":
			begun[key]++
		case "effect":
			effects[key]++
		}
	}
	return begun, effects
}

// BenchmarkReplay is a request with a stored answer of 1 KB, beside the same
// handler without the middleware.
func BenchmarkReplay(b *testing.B) {
	e, err := engine.Open(b.TempDir(), engine.Options{Window: time.Hour, Sync: engine.SyncNone, MaxResult: 4096, MinFreeDisk: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	m, err := httpidem.New(e, httpidem.Options{Scope: httpidem.Everybody})
	if err != nil {
		b.Fatal(err)
	}
	body := []byte(strings.Repeat("x", 1024))
	bare := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
	for _, c := range []struct {
		name    string
		handler http.Handler
	}{{"bare", bare}, {"replay", m.Wrap(bare)}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				r, _ := http.NewRequest(http.MethodPost, "/o", strings.NewReader("{}"))
				r.Header.Set("Idempotency-Key", "k")
				w := &sink{header: http.Header{}}
				c.handler.ServeHTTP(w, r)
				if w.status > 200 || w.n != len(body) {
					b.Fatalf("%d, %d bytes", w.status, w.n)
				}
			}
		})
	}
}

type sink struct {
	header http.Header
	status int
	n      int
}

func (s *sink) Header() http.Header { return s.header }

func (s *sink) WriteHeader(status int) { s.status = status }

func (s *sink) Write(p []byte) (int, error) {
	s.n += len(p)
	return len(p), nil
}
