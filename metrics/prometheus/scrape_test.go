package fsprom_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/adapters/httpidem"
	"github.com/firstseen/firstseen/adapters/kafka/partitioned/stats"
	"github.com/firstseen/firstseen/adapters/rpcidem"
	"github.com/firstseen/firstseen/engine"
	"github.com/firstseen/firstseen/internal/freeport"
	fsprom "github.com/firstseen/firstseen/metrics/prometheus"
)

// A dashboard is what the tests read of Grafana's JSON.
type dashboard struct {
	Title         string
	UID           string
	SchemaVersion int
	Panels        []struct {
		ID      int
		Type    string
		Title   string
		GridPos struct{ H, W, X, Y int }
		Targets []struct{ Expr, LegendFormat, RefID string }
	}
	Templating struct{ List []struct{ Name, Type string } }
}

// readDashboard checks the form of docs/metrics/grafana.json and returns its
// queries, with Grafana's variables filled in.
func readDashboard(t *testing.T) (queries []string) {
	t.Helper()
	data, err := os.ReadFile("../../docs/metrics/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 36 || len(d.Templating.List) != 2 {
		t.Errorf("the dashboard's head: %+v", d)
	}
	ids, places := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" {
			t.Errorf("panel %d %q: its number is taken, or it has no title", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := places[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies on %q, or outside", p.Title, other)
				}
				places[[2]int{x, y}] = p.Title
			}
		}
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			queries = append(queries, strings.NewReplacer("$__rate_interval", "1m", "$job", ".*").Replace(target.Expr))
		}
	}
	return queries
}

// TestPrometheus: a real Prometheus scrapes a service that is at work, loads the
// rules, and has an answer to every query of the dashboard.
func TestPrometheus(t *testing.T) {
	binary, err := exec.LookPath("prometheus")
	if err != nil {
		if os.Getenv("FIRSTSEEN_REQUIRE_SERVERS") == "1" {
			t.Fatal("there is no prometheus: Debian's package has it")
		}
		t.Skip("!!! there is no prometheus: Debian's package has it")
	}
	target := service(t)
	api := startPrometheus(t, binary, target)
	for _, q := range readDashboard(t) {
		if !strings.Contains(q, "[1m]") {
			wait(t, api, q) // a series, not a rate: it is there after one scrape
			continue
		}
		wait(t, api, strings.ReplaceAll(q, "[1m]", "[10s]"))
	}
	var up struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	get(t, api+"/api/v1/rules", &up)
	rules := 0
	for _, g := range up.Groups {
		for _, r := range g.Rules {
			if rules++; r.Health == "err" {
				t.Errorf("rule %s: %s", r.Name, r.LastError)
			}
		}
	}
	if rules < 10 {
		t.Errorf("%d rules are loaded", rules)
	}
	wait(t, api, `firstseen_engine_verdicts_total{verdict="duplicate"} > 0`)
	wait(t, api, `firstseen_http_replays_total == 3`)
	// The gap was there before the first scrape, the misplaced records come.
	for _, alert := range []string{"FirstseenKafkaGap", "FirstseenKafkaMisplaced"} {
		wait(t, api, `ALERTS{alertstate="firing",alertname="`+alert+`"}`)
	}
}

// service serves /metrics of an engine, a consumer, an HTTP and an RPC service, and what a
// Kafka adapter and its memories say.
func service(t *testing.T) (addr string) {
	t.Helper()
	e, err := engine.Open(t.TempDir(), engine.Options{Window: time.Hour, MinFreeDisk: -1, MaxResult: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	m, err := httpidem.New(e, httpidem.Options{Scope: httpidem.Everybody})
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header.Set("Idempotency-Key", "k")
		m.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") })).ServeHTTP(httptest.NewRecorder(), r)
	}
	for range 2 {
		if _, err := e.Admit(t.Context(), []byte("admitted")); err != nil {
			t.Fatal(err)
		}
	}
	s, err := rpcidem.New(e, rpcidem.Options{})
	if err != nil {
		t.Fatal(err)
	}
	memories := stats.Node{Gaps: 1, LoadedKeys: 1, Partitions: []stats.Partition{{ID: 0, Engine: e.Stats()}}}
	var misplaced atomic.Uint64
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(fsprom.Kafka(func() stats.Node { return memories }, nil),
		fsprom.KafkaAdapter(func() uint64 { return misplaced.Add(1) }, nil),
		fsprom.Engine(e.Stats, nil), fsprom.HTTP(m.Stats, nil), fsprom.RPC(s.Stats, nil),
		fsprom.Consumer(func() []consume.Counts { return make([]consume.Counts, 1) }, nil))
	server := httptest.NewServer(promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// startPrometheus returns the address of its API. It ends with the test.
func startPrometheus(t *testing.T, binary, target string) (api string) {
	t.Helper()
	rules, err := filepath.Abs("../../docs/metrics/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := fmt.Sprintf("global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}\nrule_files: [%q]\n"+
		"scrape_configs: [{job_name: firstseen, metrics_path: /, static_configs: [{targets: [%q]}]}]\n", rules, target)
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	port, err := freeport.Get()
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	logs, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+addr)
	cmd.Stdout, cmd.Stderr = logs, logs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if said, err := os.ReadFile(logs.Name()); t.Failed() && err == nil {
			t.Logf("prometheus:\n%s", said[max(0, len(said)-4000):])
		}
	})
	return "http://" + addr
}

// wait asks until the query has an answer.
func wait(t *testing.T, api, query string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		var answer struct{ Result []json.RawMessage }
		if get(t, api+"/api/v1/query?query="+url.QueryEscape(query), &answer) && len(answer.Result) > 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("no answer to %s", query)
			return
		}
		<-time.After(100 * time.Millisecond)
	}
}

// get reads the data of an answer and says whether there was one; a query that is
// not valid ends the test.
func get(t *testing.T, url string, data any) bool {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		return false // not up yet
	}
	defer res.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode == http.StatusServiceUnavailable {
		return false
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: %s, %v", url, body, err)
	}
	if err := json.Unmarshal(answer.Data, data); err != nil {
		t.Fatal(err)
	}
	return true
}
