package httpidem_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/firstseen/firstseen/adapters/httpidem"
	"github.com/firstseen/firstseen/engine"
)

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
