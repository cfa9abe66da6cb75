package bench

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// sampleReport has one of everything.
func sampleReport() Report {
	candidate := Candidate{Name: "firstseen-interval", About: "about", Class: Kill, Expires: true, Embedded: true, Modules: []string{"m"}}
	run := func(rate float64) Result {
		return Result{
			Candidate: candidate, Workload: "segment", Batch: 1000, Callers: 1, Window: 2_000_000, Seed: 1,
			Messages: 2_000_000, KeysPerSecond: rate, WallPerSecond: rate * 0.9, WorstSecond: rate * 0.8, Wall: 250 * time.Millisecond,
			Latency: Latency{2000, 50_000, 60_000, 90_000, 200_000, 3_000_000},
			Fresh:   1_988_000, Duplicates: 12_000, MemoryPeak: 60e6, MemoryEnd: 40e6, Disk: 31e6, Ring: 64e6,
			Usage: Usage{Memory: 6e6, Flushes: 3, Rotations: 2}, MemoryPerKey: 20.1, DiskPerKey: 15.6,
			OpenNew: 1e6, CloseTook: 2e6, OpenClosed: &Opening{Took: 5e6, Asked: 20000}, OpenKilled: &Opening{Problem: "a problem"},
			Samples:      []Sample{{Messages: 900_000}, {Messages: 1_100_000, Flushes: 3, Rotations: 2}, {}, {}, {}},
			SampleLength: 100 * time.Millisecond,
		}
	}
	peer := run(500_000)
	peer.Candidate = Candidate{Name: "redis", About: "<Redis>", Class: Memory}
	peer.Server, peer.Missed, peer.Truncated, peer.Error = "Redis 7", 3, true, "lost <connection>"
	peer.OpenClosed, peer.OpenKilled, peer.DiskPerKey = nil, nil, 0
	return Report{
		Schema: reportSchema, Started: time.Date(2025, 2, 3, 4, 5, 6, 0, time.UTC), Took: time.Second, Command: "dedupbench run",
		Machine: Machine{"cpu", 2, 2, 24 << 30, "linux/amd64 6", "go1.26", "ext4", 1 << 30, []string{"m v1.0.0"}},
		Rows:    []Row{{Runs: []Result{run(8e6), run(10e6), run(9e6)}}, {Runs: []Result{peer}}},
		Skipped: []Skipped{{"mariadb", "no server"}},
		Filters: []FilterCurve{{
			Name: "firstseen-sliced", About: "about", Generations: 8,
			InCache:    FilterSpeed{50_000, 150_000, 24, 5, 6, 4, 0.01},
			OutOfCache: FilterSpeed{10_000_000, 30_000_000, 24, 20, 90, 15, 0.01},
			Points:     []FilterPoint{{0.5, 0.001}, {1, 0.01}, {1.5, 0.05}},
		}},
	}
}

// TestReportGolden pins the shapes that other programs read.
func TestReportGolden(t *testing.T) {
	r := sampleReport()
	r.Rows[0].dropSamples()
	for name, write := range map[string]func(*bytes.Buffer) error{
		"report.json":    func(b *bytes.Buffer) error { return r.Write(b) },
		"report.txt":     func(b *bytes.Buffer) error { return r.WriteTable(b) },
		"report.bench":   func(b *bytes.Buffer) error { return r.WriteGoBench(b) },
		"report.filters": func(b *bytes.Buffer) error { return r.WriteFilterTable(b) },
	} {
		var got bytes.Buffer
		if err := write(&got); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s changed (go test -update rewrites it):\n%s", name, got.String())
		}
	}
}

func TestReadReport(t *testing.T) {
	r := sampleReport()
	var text bytes.Buffer
	if err := r.Write(&text); err != nil {
		t.Fatal(err)
	}
	again, err := ReadReport(bytes.NewReader(text.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	var second bytes.Buffer
	if err := again.Write(&second); err != nil || !bytes.Equal(text.Bytes(), second.Bytes()) {
		t.Errorf("a report that was read back is written differently (%v)", err)
	}
	for _, bad := range []string{"", "{}", `{"schema":99}`, `{"schema":1,"rows":[{"runs":[]}]}`} {
		if _, err := ReadReport(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was taken for a report", bad)
		}
	}
}

func TestWriteHTML(t *testing.T) {
	r := sampleReport()
	var out bytes.Buffer
	if err := r.WriteHTML(&out); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	for _, want := range []string{"9.00 M", "firstseen-interval", "lost &lt;connection&gt;", "not measured: mariadb: no server", "Redis 7", "dedupbench run", "rotation", "</html>"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, bad := range []string{"http://", "https://", "src=", "url(", "<connection>", "NaN", "ZgotmplZ"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	empty := Report{Schema: reportSchema}
	if err := empty.WriteHTML(&out); err != nil {
		t.Error(err)
	}
}

func TestMedian(t *testing.T) {
	f := func(want float64, rates ...float64) {
		t.Helper()
		row := Row{}
		for _, rate := range rates {
			row.Runs = append(row.Runs, Result{KeysPerSecond: rate})
		}
		if got := row.Median().KeysPerSecond; got != want {
			t.Errorf("median of %v is %v, want %v", rates, got, want)
		}
	}
	f(1, 1)
	f(1, 2, 1)
	f(2, 3, 1, 2)
	f(2, 4, 1, 3, 2)
}

func TestCompare(t *testing.T) {
	older, newer := sampleReport(), sampleReport()
	runs := newer.Rows[0].Runs
	for i := range runs {
		runs[i].KeysPerSecond *= 0.5
		runs[i].Wrong = 7
	}
	newer.Rows[1].Runs[0].KeysPerSecond *= 3
	newer.Rows[1].Runs[0].Batch = 1 // another row
	got := Compare(&older, &newer)
	if len(got) != 3 {
		t.Fatalf("%d rows, want 3", len(got))
	}
	engine := got[0]
	if math.Abs(engine.Change+0.5) > 1e-9 || !engine.Significant() || engine.NewErrors != 21 {
		t.Errorf("half the speed and 21 errors: %+v", engine)
	}
	if want := (2e6 + 1e6) / 2 / 9e6; math.Abs(engine.Noise-want) > 1e-9 {
		t.Errorf("noise %v, want %v", engine.Noise, want)
	}
	if (got[1].Old == nil) == (got[2].Old == nil) {
		t.Error("one row should be only in the old report, one only in the new one")
	}
	same := Compare(&older, &older)
	if same[0].Significant() || same[1].Significant() {
		t.Error("a report differs from itself")
	}
	var out bytes.Buffer
	if err := WriteDifferences(&out, append(got, same...)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"-50.0 %", "21 NEW WRONG ANSWERS", "within noise", "one run each", "only in the new report"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, out.String())
		}
	}
}

func TestCheck(t *testing.T) {
	r := sampleReport()
	f := func(passed, missing bool, c Check) {
		t.Helper()
		got := r.Check([]Check{c})[0]
		if got.Passed != passed || got.Missing != missing {
			t.Errorf("%+v: measured %v, passed %v, missing %v", c, got.Measured, got.Passed, got.Missing)
		}
	}
	const us = "firstseen-interval"
	f(true, false, Check{Target: us, AtLeast: 9e6})
	f(false, false, Check{Target: us, AtLeast: 9e6 + 1})
	f(true, false, Check{Target: us, Over: "redis", AtLeast: 18})
	f(false, false, Check{Target: us, Over: "redis", AtLeast: 19})
	f(false, true, Check{Target: us, Over: "gomap", AtLeast: 1})
	f(false, true, Check{Target: us, Workload: "dup50", AtLeast: 1})
	f(true, false, Check{Target: us, Metric: "p99_us", AtMost: 90})
	f(false, false, Check{Target: us, Metric: "p99_us", AtMost: 89})
	f(true, false, Check{Target: us, Metric: "open_ms", AtMost: 5})
	f(false, true, Check{Target: us, Metric: "open_killed_ms", AtMost: 5})
	f(false, true, Check{Target: us, Metric: "beauty", AtMost: 5})
	var out bytes.Buffer
	passed, err := WriteFindings(&out, r.Check([]Check{{What: "too fast", Target: us, AtLeast: 1e9}, {What: "lacks", Target: "x", AtLeast: 1}}))
	if err != nil || passed || !strings.Contains(out.String(), "FAILED  too fast") || !strings.Contains(out.String(), "missing lacks") {
		t.Errorf("passed %v, %v:\n%s", passed, err, out.String())
	}
}

// TestTargetsFile reads the file that the documentation names.
func TestTargetsFile(t *testing.T) {
	checks, err := ReadChecks("targets.json")
	if err != nil || len(checks) == 0 {
		t.Fatalf("%d checks, %v", len(checks), err)
	}
	path := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(path, []byte(`[{"what":"x","target":"y"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadChecks(path); err == nil {
		t.Error("a check without a bound was taken")
	}
}

func TestRunAll(t *testing.T) {
	good, broken := setCandidate(nil), setCandidate(nil)
	broken.Name = "broken"
	broken.Open = func(context.Context, Setup) (Target, error) {
		return nil, fmt.Errorf("%w: no licence", ErrNotAvailable)
	}
	var told int
	base := Config{Keys: 5000, Dir: t.TempDir()}
	c1, c2 := base, base
	c1.Candidate, c2.Candidate = good, broken
	r := RunAll(context.Background(), []Config{c1, c2}, 3, func(int, int, Config) { told++ })
	if len(r.Rows) != 1 || len(r.Rows[0].Runs) != 3 || told != 4 {
		t.Errorf("%d rows, told of %d runs", len(r.Rows), told)
	}
	if len(r.Skipped) != 1 || r.Skipped[0].Name != "broken" || !strings.Contains(r.Skipped[0].Reason, "no licence") {
		t.Errorf("skipped: %+v", r.Skipped)
	}
	if !r.Exact() || r.Machine.Cores == 0 {
		t.Errorf("exact %v, %+v", r.Exact(), r.Machine)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("enough"))
	if r := RunAll(ctx, []Config{c1}, 1, nil); !r.Interrupted || len(r.Rows) != 0 {
		t.Errorf("interrupted before the start: %+v", r)
	}
}

func TestUnits(t *testing.T) {
	f := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(count(1234567), "1,234,567")
	f(count(-1234), "-1,234")
	f(count(999), "999")
	f(short(999.6), "1.00 k")
	f(short(20_000_000), "20.0 M")
	f(short(0.0042), "0.0042")
	f(duration(0), "0")
	f(duration(999), "999 ns")
	f(duration(48_200), "48.2 µs")
	f(duration(999_999), "1.00 ms")
	f(duration(90*time.Second), "90.0 s")
	f(share(0.006), "0.60 %")
	f(size(31e6), "31.0 MB")
}
