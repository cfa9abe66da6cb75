package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/firstseen/firstseen/internal/servertest"
)

// storeURL starts a server and returns what --store takes.
func storeURL(t *testing.T, kind string) string {
	t.Helper()
	s := servertest.Start(t, kind)
	switch kind {
	case servertest.Redis:
		return "redis://" + s.Env("REDIS_ADDR") + "/0?prefix=test"
	case servertest.MariaDB:
		return fmt.Sprintf("mysql://%s:%s@%s/%s?table=seen", s.Env("MARIADB_USER"), s.Env("MARIADB_PASSWORD"), s.Env("MARIADB_ADDR"), s.Env("MARIADB_DATABASE"))
	default:
		return s.Env("POSTGRES_URL") + "&table=seen"
	}
}

// TestFilterStore: runs that are killed lose no record, runs side by side write each
// once, and a later run knows what they wrote.
func TestFilterStore(t *testing.T) {
	for _, kind := range []string{servertest.Redis, servertest.MariaDB, servertest.Postgres} {
		t.Run(kind, func(t *testing.T) {
			store := storeURL(t, kind)
			flags := []string{"--store", store, "--lease", "5s"}
			if kind != servertest.Redis {
				if out, err := command(t, "filter", "--store", store, write(t, []byte("x\n"))).CombinedOutput(); err == nil {
					t.Fatalf("a table was made unasked: %s", out)
				}
				flags = append(flags, "--migrate")
			}
			records, kills := 20_000, 1 // after each the next run waits for the lease
			if os.Getenv("FIRSTSEEN_SERVERS") == "long" {
				kills = 5
			} else if kind != servertest.Redis {
				records, kills = 3_000, 0
			}
			if kills > 0 {
				filterKilled(t, records, kills, flags...)
			}
			filterBeside(t, records, flags)
		})
	}
}

// filterBeside has three runs take the same records at once, each in another order.
func filterBeside(t *testing.T, records int, flags []string) {
	t.Helper()
	in, _ := distinct(t, records)
	all := slices.DeleteFunc(strings.SplitAfter(string(in), "\n"), func(s string) bool { return s == "" })
	want := map[string]bool{}
	for i := range all {
		all[i] = "beside " + all[i]
		want[all[i]] = true
	}
	var runs []*exec.Cmd
	var outs, errs [3]bytes.Buffer
	for i := range outs {
		order := slices.Clone(all)
		if i > 0 {
			order = append(order[len(order)/(i+1):], order[:len(order)/(i+1)]...)
		}
		cmd := command(t, append(append([]string{"filter"}, flags...), write(t, []byte(strings.Join(order, ""))))...)
		cmd.Stdout, cmd.Stderr = &outs[i], &errs[i]
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		runs = append(runs, cmd)
	}
	got := map[string]int{}
	for i, cmd := range runs {
		if err := cmd.Wait(); err != nil {
			t.Fatalf("run %d: %v: %s", i, err, errs[i].String())
		}
		for line := range strings.Lines(outs[i].String()) {
			got[line]++
		}
	}
	for line := range want {
		if got[line] != 1 {
			t.Fatalf("a record was written %d times by runs side by side: %q", got[line], line)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d records were written, want %d", len(got), len(want))
	}
	out, err := command(t, append(append([]string{"filter"}, flags...), write(t, []byte(strings.Join(all, ""))))...).Output()
	if err != nil || len(out) > 0 {
		t.Fatalf("a later run wrote %d bytes again (%v)", len(out), err)
	}
}

// TestStoreFlag: what is no store is named before anything is read, and a password is
// never printed.
func TestStoreFlag(t *testing.T) {
	for _, url := range []string{"http://h/", "redis//secret@h", "redis://u:secret@127.0.0.1:1/0?prefix=a", "://secret"} {
		out, err := command(t, "filter", "--store", url, write(t, []byte("x\n"))).CombinedOutput()
		if err == nil || strings.Contains(string(out), "secret") {
			t.Errorf("--store %s: %v: %s", url, err, out)
		}
	}
	out, err := command(t, "filter", "--store", "redis://h/", "--dir", t.TempDir()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "both") {
		t.Errorf("--store beside --dir: %v: %s", err, out)
	}
}
