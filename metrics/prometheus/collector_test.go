package fsprom_test

import (
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/firstseen/firstseen/adapters/consume"
	"github.com/firstseen/firstseen/adapters/httpidem"
	"github.com/firstseen/firstseen/adapters/kafka/partitioned/stats"
	"github.com/firstseen/firstseen/adapters/rpcidem"
	"github.com/firstseen/firstseen/engine"
	fsprom "github.com/firstseen/firstseen/metrics/prometheus"
)

// TestRealSources: an engine, a consumer and a middleware at work give what they
// did, in one registry, without a complaint of the linter.
func TestRealSources(t *testing.T) {
	ctx := context.Background()
	e := openEngine(t)
	c, err := consume.New(e, consume.Options{Scope: consume.Scope{Application: "billing", Instance: "i-1"}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := httpidem.New(e, httpidem.Options{Scope: httpidem.Everybody})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		c.Handle(ctx, consume.Message{Key: []byte("k"), Topic: "orders"}, func(context.Context, consume.Message) error { return nil })
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.Header.Set("Idempotency-Key", "k")
		m.Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })).
			ServeHTTP(httptest.NewRecorder(), r)
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(fsprom.Engine(e.Stats, nil), fsprom.Consumer(c.Snapshot, nil), fsprom.HTTP(m.Stats, nil))
	lint(t, reg)
	got := gather(t, reg)
	want := map[string]float64{
		`firstseen_engine_verdicts_total{verdict="fresh"}`:     2,
		`firstseen_engine_verdicts_total{verdict="duplicate"}`: 4,
		`firstseen_engine_claim_ends_total{end="committed"}`:   2,
		`firstseen_engine_window_asked_seconds{}`:              3600,
		`firstseen_consume_messages_total{application="billing",consumer_instance="i-1",tag="",topic="orders",verdict="duplicate"}`: 2,
		`firstseen_consume_decisions_total{action="ack",application="billing",consumer_instance="i-1",tag="",topic="orders"}`:       3,
		`firstseen_http_runs_total{}`:    1,
		`firstseen_http_replays_total{}`: 2,
	}
	for name, v := range want {
		if g, ok := got[name]; !ok || g != v {
			t.Errorf("%s is %v (there: %v), want %v", name, g, ok, v)
		}
	}
	if _, ok := got[`firstseen_engine_generation_fill_ratio{age="0"}`]; !ok {
		t.Error("the live generation is missing")
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for name := range gather(t, reg) {
		if strings.HasPrefix(name, "firstseen_engine_") {
			t.Errorf("a closed engine exports %s", name)
		}
	}
}

// TestEveryNumber: each number of the sources is exported once and in base units.
// A field that is added to them and not to the collectors fails here.
func TestEveryNumber(t *testing.T) {
	var es engine.Stats
	es.Generations = make([]engine.GenerationStats, 1)
	next := 1000.0
	want := map[float64]string{}
	number(reflect.ValueOf(&es).Elem(), "engine.Stats", &next, want)
	cs := make([]consume.Counts, 1)
	number(reflect.ValueOf(&cs[0]).Elem(), "consume.Counts", &next, want)
	var hs httpidem.Stats
	number(reflect.ValueOf(&hs).Elem(), "httpidem.Stats", &next, want)
	var rs rpcidem.Stats
	number(reflect.ValueOf(&rs).Elem(), "rpcidem.Stats", &next, want)

	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(fsprom.Engine(func() engine.Stats { return es }, nil),
		fsprom.Consumer(func() []consume.Counts { return cs }, nil), fsprom.HTTP(func() httpidem.Stats { return hs }, nil),
		fsprom.RPC(func() rpcidem.Stats { return rs }, nil))
	lint(t, reg)
	ks := stats.Node{Partitions: make([]stats.Partition, 1)}
	p := &ks.Partitions[0]
	p.Engine.Generations = make([]engine.GenerationStats, 1)
	number(reflect.ValueOf(&ks).Elem(), "stats.Node", &next, want)
	ofKafka := prometheus.NewPedanticRegistry()
	next++
	misplaced := next
	want[misplaced] = "kafka.Adapter.Misplaced"
	ofKafka.MustRegister(fsprom.Kafka(func() stats.Node { return ks }, nil), fsprom.KafkaAdapter(func() uint64 { return uint64(misplaced) }, nil))
	lint(t, ofKafka)
	times := map[float64]int{}
	for _, from := range []prometheus.Gatherer{reg, ofKafka} {
		for _, v := range gather(t, from) {
			times[v]++
		}
	}
	left := map[string]bool{
		"engine.Stats.Lookups.PredictedMaybe": true, // the filter's PredictedRate
		"engine.Stats.Window.Now":             true, // Prometheus has a clock
		"engine.Stats.Generations.Number":     true, // by age instead
		"engine.Stats.Generations.Start":      true, // the window held tells
		"engine.Stats.Generations.End":        true,
		"engine.Stats.Recovery.LostSince":     true, // for people: the status page has it
	}
	for v, field := range want {
		field = strings.Replace(field, "stats.Node.Partitions.Engine", "engine.Stats", 1)
		if field == "engine.Stats.Filter.BitsPerKey" {
			v /= 8 // exported in bytes
		}
		switch {
		case left[field] && times[v] != 0:
			t.Errorf("%s is exported, and named as left out", field)
		case !left[field] && times[v] != 1:
			t.Errorf("%s is exported %d times", field, times[v])
		}
	}
}

// TestMayHaveLostAll: a loss without bounds is not a small number.
func TestMayHaveLostAll(t *testing.T) {
	var s engine.Stats
	s.Window.Asked, s.Recovery.MayHaveLost = time.Hour, -1
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(fsprom.Engine(func() engine.Stats { return s }, prometheus.Labels{"engine": "a"}))
	if v := gather(t, reg)[`firstseen_engine_open_may_have_lost_seconds{engine="a"}`]; !math.IsInf(v, 1) {
		t.Errorf("%v", v)
	}
}

// TestDocsKnowTheirMetrics: a rule or a panel about a series that nobody exports would
// never fire, or stay empty.
func TestDocsKnowTheirMetrics(t *testing.T) {
	rules, err := os.ReadFile("../../docs/metrics/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	var es engine.Stats
	es.Window.Asked, es.Generations = time.Hour, make([]engine.GenerationStats, 1)
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(fsprom.Engine(func() engine.Stats { return es }, nil), fsprom.HTTP(func() httpidem.Stats { return httpidem.Stats{} }, nil),
		fsprom.Consumer(func() []consume.Counts { return make([]consume.Counts, 1) }, nil),
		fsprom.RPC(func() rpcidem.Stats { return rpcidem.Stats{} }, nil))
	known := map[string]bool{}
	ofKafka := prometheus.NewPedanticRegistry()
	ofKafka.MustRegister(fsprom.Kafka(func() stats.Node { return stats.Node{Partitions: make([]stats.Partition, 1)} }, nil),
		fsprom.KafkaAdapter(func() uint64 { return 0 }, nil))
	for _, from := range []prometheus.Gatherer{reg, ofKafka} {
		for name := range gather(t, from) {
			known[name[:strings.IndexByte(name, '{')]] = true
		}
	}
	series := regexp.MustCompile(`firstseen_[a-z0-9_]+`)
	used := series.FindAllString(string(rules)+strings.Join(readDashboard(t), "\n"), -1)
	if len(used) < 10 {
		t.Fatalf("only %d series in the rules", len(used))
	}
	for _, name := range used {
		if !known[name] {
			t.Errorf("nobody exports %s", name)
		}
	}
}

// number gives each number below v a value of its own, durations and times in
// seconds, and notes whose it is.
func number(v reflect.Value, name string, next *float64, want map[float64]string) {
	note := func() float64 { *next++; want[*next] = name; return *next }
	switch x := v.Addr().Interface().(type) {
	case *time.Duration:
		*x = time.Duration(note()) * time.Second
		return
	case *time.Time:
		*x = time.Unix(int64(note()), 0)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			number(v.Field(i), name+"."+v.Type().Field(i).Name, next, want)
		}
	case reflect.Slice:
		for i := range v.Len() {
			number(v.Index(i), name, next, want)
		}
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(note()))
	case reflect.Uint64:
		v.SetUint(uint64(note()))
	case reflect.Float64:
		v.SetFloat(note())
	}
}

func openEngine(t *testing.T) *engine.Engine {
	t.Helper()
	e, err := engine.Open(t.TempDir(), engine.Options{Window: time.Hour, Capacity: 1000, MaxResult: 4096, Temporary: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func lint(t *testing.T, reg prometheus.Gatherer) {
	t.Helper()
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// gather returns the value of each series by its name and labels.
func gather(t *testing.T, reg prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+`="`+l.GetValue()+`"`)
			}
			got[f.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return got
}
