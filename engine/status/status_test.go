package status_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/firstseen/firstseen/engine"
	"github.com/firstseen/firstseen/engine/status"
)

// TestPage: the page, the JSON and the var of an engine at work say what it did; of
// a closed one the page says so.
func TestPage(t *testing.T) {
	e, err := engine.Open(t.TempDir(), engine.Options{Window: 3 * time.Hour, Capacity: 10_000, Temporary: true})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for i := range 3000 {
		if _, err := e.Admit(context.Background(), fmt.Appendf(nil, "key-%d", i%1234)); err != nil {
			t.Fatal(err)
		}
	}
	h := status.Handler(e.Stats)
	html := get(t, h, "/", 200, "text/html; charset=utf-8")
	for _, part := range []string{"1\u202f234</td>", "1\u202f766</td>", "41.13 %", "3h0m0s", ">live<"} {
		if !strings.Contains(html, part) {
			t.Errorf("the page does not have %q:\n%s", part, html)
		}
	}
	for _, text := range []string{get(t, h, "/?format=json", 200, "application/json"), status.Var(e.Stats).String()} {
		var s engine.Stats
		if err := json.Unmarshal([]byte(text), &s); err != nil || s.Verdicts.Fresh != 1234 || s.Verdicts.Duplicate != 1766 || len(s.Generations) == 0 {
			t.Errorf("%v: %s", err, text)
		}
	}
	get(t, h, "/?format=xml", 400, "text/plain; charset=utf-8")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") == "" {
		t.Errorf("POST: %d %v", w.Code, w.Header())
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	get(t, h, "/", 503, "text/plain; charset=utf-8")
}

// TestWarnings: what was lost is seen, and text from a directory is text.
func TestWarnings(t *testing.T) {
	var s engine.Stats
	s.Window.Asked = time.Hour
	s.Recovery.Gaps = []engine.Gap{{Generation: 7, Reason: "<script>alert(1)</script>"}}
	s.Recovery.MayHaveLost, s.Recovery.LostSince = -1, time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	s.Scrub.Errors, s.Scrub.LastErr = 1, "bad sum"
	html := get(t, status.Handler(func() engine.Stats { return s }), "/", 200, "text/html; charset=utf-8")
	for _, part := range []string{"(generation 7)", "&lt;script&gt;", "2030-01-02 03:04:05", "bad sum"} {
		if !strings.Contains(html, part) {
			t.Errorf("the page does not have %q", part)
		}
	}
	s.Recovery, s.Scrub = engine.RecoveryStats{}, engine.ScrubStats{}
	if html := get(t, status.Handler(func() engine.Stats { return s }), "/", 200, "text/html; charset=utf-8"); strings.Contains(html, `class="warn"`) {
		t.Error("a warning without a reason")
	}
}

var outside = regexp.MustCompile(`(?i)<script|src=|https?://|@import|url\(`)

// get asks for a page and checks status, type and that nothing comes from elsewhere.
func get(t *testing.T, h http.Handler, target string, code int, kind string) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	if w.Code != code || w.Header().Get("Content-Type") != kind {
		t.Errorf("%s: %d %v", target, w.Code, w.Header())
	}
	if code == 200 && !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%s: no policy: %v", target, w.Header())
	}
	if found := outside.FindString(w.Body.String()); found != "" {
		t.Errorf("%s has %q", target, found)
	}
	return w.Body.String()
}
