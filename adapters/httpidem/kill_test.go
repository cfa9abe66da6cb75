package httpidem_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/firstseen/firstseen/adapters/httpidem"
	"github.com/firstseen/firstseen/adapters/intents"
	"github.com/firstseen/firstseen/dedup"
	"github.com/firstseen/firstseen/internal/killtest"
)

var front = killtest.Front{Name: "http", Serve: serve, Ask: ask}

func TestMain(m *testing.M) { os.Exit(killtest.Main(m, front)) }

// TestKilled: see package killtest.
func TestKilled(t *testing.T) { killtest.Run(t, front) }

func serve(l net.Listener, guard dedup.Guard, store intents.Store, handler func(key string) (answer string)) error {
	m, err := httpidem.New(guard, httpidem.Options{Scope: httpidem.Everybody, Wait: 5 * time.Second, Intents: store})
	if err != nil {
		return err
	}
	return http.Serve(l, m.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, handler(r.Header.Get("Idempotency-Key")))
	})))
}

func ask(ctx context.Context, _ *testing.T, addr, key string) (answer string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr, http.NoBody)
	if err != nil {
		return "", err
	}
	req.Header.Set("Idempotency-Key", key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", killtest.ErrNoAnswer
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "", killtest.ErrNoAnswer
	}
	if res.StatusCode == http.StatusOK {
		return string(body), nil
	}
	var p httpidem.Problem
	if err := json.Unmarshal(body, &p); err == nil && p.Type == httpidem.TypeInDoubt {
		return "", killtest.ErrInDoubt
	}
	return "", fmt.Errorf("%s: %s", res.Status, body)
}
