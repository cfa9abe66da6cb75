package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firstseen/firstseen/bench"
)

// execute runs the command in this process.
func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root := newRoot()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(context.Background())
	return out.String(), err
}

func TestRunAndCompare(t *testing.T) {
	dir := t.TempDir()
	older, newer, page := filepath.Join(dir, "a.json"), filepath.Join(dir, "b.json"), filepath.Join(dir, "a.html")
	for _, path := range []string{older, newer} {
		out, err := execute(t, "run", "--targets", "gomap,bloom-pair", "--keys", "20k", "--workload", "dup50,uuid", "--batch", "100,1",
			"--goroutines", "2", "--runs", "2", "--dir", dir, "--json", path, "--html", page)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Count(out, "gomap") != 4 || !strings.Contains(out, "dup50: 50.0 % duplicates") {
			t.Errorf("the table:\n%s", out)
		}
	}
	text, err := os.ReadFile(older)
	if err != nil {
		t.Fatal(err)
	}
	var r bench.Report
	if err := json.Unmarshal(text, &r); err != nil || len(r.Rows) != 8 || len(r.Rows[0].Runs) != 2 {
		t.Errorf("%d rows, %v", len(r.Rows), err)
	}
	if info, err := os.Stat(page); err != nil || info.Size() < 5000 {
		t.Errorf("the page: %v, %v", info, err)
	}
	out, err := execute(t, "compare", older, newer)
	if err != nil || strings.Count(out, "gomap/") != 4 {
		t.Errorf("%v:\n%s", err, out)
	}
	left, err := filepath.Glob(filepath.Join(dir, "dedupbench-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRunForBenchstatAndCheck(t *testing.T) {
	checks := filepath.Join(t.TempDir(), "checks.json")
	if err := os.WriteFile(checks, []byte(`[{"what":"impossible","target":"gomap","at_least":1e15}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := execute(t, "run", "--targets", "gomap", "--keys", "20k", "--gobench", "--check", checks)
	if !errors.Is(err, errFailed) || !strings.Contains(out, "FAILED  impossible") {
		t.Errorf("a check that can't be met: %v", err)
	}
	if !strings.Contains(out, "BenchmarkAdmit/target=gomap/workload=segment/batch=1000/goroutines=1 20000 ") {
		t.Errorf("no benchmark line:\n%s", out)
	}
}

func TestPlanAndUsage(t *testing.T) {
	out, err := execute(t, "plan", "--rate", "10k", "--window", "1h")
	if err != nil || !strings.Contains(out, "Assumed:") {
		t.Errorf("%v:\n%s", err, out)
	}
	for _, args := range [][]string{
		{"run", "--targets", "nothing"}, {"run", "--workload", "nothing"}, {"run", "--sync", "often"}, {"run", "--keys", "-1"},
		{"run", "--runs", "0"}, {"run", "--no-such-flag"}, {"nonsense"}, {"compare", "one"}, {"plan", "--duplicates", "7"},
	} {
		if _, err := execute(t, args...); !errors.Is(err, errUsage) {
			t.Errorf("%v: %v is no error of usage", args, err)
		}
	}
}

func TestChooseTargets(t *testing.T) {
	f := func(want string, names, sync []string) {
		t.Helper()
		got, err := chooseTargets(names, sync)
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, c := range got {
			list = append(list, c.Name)
		}
		if strings.Join(list, " ") != want {
			t.Errorf("%v with sync %v gives %v, want %s", names, sync, list, want)
		}
	}
	f("firstseen-always firstseen-interval firstseen-none", []string{"engine"}, nil)
	f("firstseen-none redis", []string{"redis", "engine"}, []string{"none"})
	f("gomap watermill bloom-pair", []string{"memory"}, nil)
	f("redis mariadb postgres redis-store-claims redis-store mariadb-store-claims mariadb-store postgres-store-claims postgres-store", []string{"servers"}, nil)
	if got, err := chooseTargets([]string{"all"}, nil); err != nil || len(got) != len(candidates()) {
		t.Errorf("all: %d of %d, %v", len(got), len(candidates()), err)
	}
}

func TestQuantity(t *testing.T) {
	f := func(text string, want uint64) {
		t.Helper()
		var q quantity
		if err := q.Set(text); err != nil || uint64(q) != want {
			t.Errorf("%s reads as %d, %v", text, q, err)
		}
	}
	f("1", 1)
	f("20M", 20_000_000)
	f("1.5k", 1500)
	f("2G", 2_000_000_000)
	for _, bad := range []string{"", "0", "-1", "1.5", "x", "NaN", "1e30", "5T"} {
		var q quantity
		if err := q.Set(bad); err == nil {
			t.Errorf("%q reads as %d", bad, q)
		}
	}
	for _, n := range []quantity{1, 1500, 5_000_000} {
		var again quantity
		if err := again.Set(n.String()); err != nil || again != n {
			t.Errorf("%d is written %s and reads as %d", uint64(n), n.String(), uint64(again))
		}
	}
}
